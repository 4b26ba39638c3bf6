"""A server of files on 127.0.0.1 that answers requests for ranges, over HTTP and as S3 does, and counts them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

EMPTY_LISTING = b'<?xml version="1.0"?><ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>'


@dataclass
class FileServer:
    """A folder, as a server shows it.

    `ranges` are the first byte and the byte after the last of every part that was served. With `has_ranges` False the
    server sends whole files only. The next `failures` requests for a part are answered with an error. Of the next
    `cuts` answers with content the second half is missing, because the connection ends. Then the next `halves` parts
    are half as long as what was asked for. A server that `has_ended` breaks connections.
    """

    folder: Path
    url: str = ""
    has_ranges: bool = True
    failures: int = 0
    cuts: int = 0
    halves: int = 0
    has_ended: bool = False
    ranges: list[tuple[int, int]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def forget(self) -> None:
        """Begin to count anew."""
        self.ranges.clear()
        self.requests.clear()


@contextmanager
def serving(folder):
    """Serve the files of a folder; yields the :class:`FileServer`."""
    shown = FileServer(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self._answer(with_content=False)

        def do_GET(self):
            self._answer(with_content=True)

        def _answer(self, *, with_content):
            if shown.has_ended:
                self.close_connection = True
                return None
            shown.requests.append(f"{self.command} {self.path}")
            path = folder / unquote(urlsplit(self.path).path).lstrip("/")
            if "list-type=2" in self.path:
                return self._send(200, EMPTY_LISTING)
            if not path.is_file():
                return self._send(404)
            size, asked = path.stat().st_size, self.headers.get("Range")
            if asked is None or not shown.has_ranges:
                return self._send(200, path.read_bytes() if with_content else b"", size=size)
            if shown.failures:
                shown.failures -= 1
                return self._send(503)
            first, last = asked.removeprefix("bytes=").split("-")
            start, stop = int(first), min(int(last or size) + 1, size)
            shown.ranges.append((start, stop))
            with path.open("rb") as file:
                file.seek(start)
                content = file.read(stop - start)
            if shown.halves and not shown.cuts:
                shown.halves -= 1
                content = content[: len(content) // 2]
            return self._send(206, content, {"Content-Range": f"bytes {start}-{stop - 1}/{size}"})

        def _send(self, status, content=b"", headers=None, *, size=None):
            self.send_response(status)
            length = len(content) if size is None else size
            given = {"Content-Length": str(length), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "ETag": '"one"'}
            for name, value in {**given, **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if content and shown.cuts:
                shown.cuts -= 1
                content = content[: len(content) // 2]
                self.close_connection = True
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    shown.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield shown
    finally:
        shown.has_ended = True
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that has gone is no error."""
