"""Output files: where they may be written, and how they appear whole or not at all.

Every file that the package writes for its user goes through this module:

- An existing target must be a regular file. A device, a pipe, a socket or a folder is refused and left as it is.
- A symbolic link is written through: the link stays, and the file that it names is written, also if that does not exist
  yet.
- The content goes to a temporary file beside the target, is flushed to the disk, and is then renamed. On Linux the
  temporary file has no name until it is complete, on file systems with such files. So no other process can open it, and
  nothing is left of it if this process is killed.
- A new file has the permissions that the umask gives. A file that is overwritten keeps its permissions.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from qpibench.errors import QpibenchError, UsageError

MAX_NAME_BYTES = 255 - len("..compressed.partial")
"""Largest length of a target's name: file systems allow 255 bytes, and names of temporary files are longer."""

_OWN_DESCRIPTORS = "/proc/self/fd"

_KINDS = {
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}
_PLACE_AT_FAULT = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ELOOP,
    errno.ENAMETOOLONG,
)


def check_file(path: str | Path, *, if_exists: str | None = None) -> Path:
    """Refuse a path at which no file can be written, before any work is done.

    Parameters
    ----------
    path
        The file to write, as the user named it.
    if_exists
        For a file that may not be replaced: the advice to a user who names one that exists.

    Returns
    -------
    Path
        The file that will be written: `path`, or the file that it names if it is a symbolic link.

    Raises
    ------
    UsageError
        If the path is a folder, a device, a pipe or a socket, a loop of links, or too long, if its folder is missing or
        cannot be written to, or if the file exists and may not be replaced, be it that it belongs to another user in a
        folder such as /tmp.
    """
    path = Path(path)
    kind = _kind(path)
    target, shown = _followed(path)
    if kind == stat.S_IFDIR or not path.name:
        raise UsageError(f"'{path}' is a folder; name the file to write.")
    if kind not in (None, stat.S_IFREG):
        raise UsageError(f"{shown} is {_KINDS.get(kind, 'no regular file')}; name a file to write.")
    _check_name(target)
    if not os.path.isdir(target.parent):
        through = "" if target is path else f"{shown} cannot be written: "
        raise UsageError(through + _no_folder(target.parent, capital=not through))
    if not os.access(target.parent, os.W_OK):
        raise UsageError(f"Folder '{target.parent}' cannot be written to; choose another place.")
    if kind is not None and if_exists is not None:
        raise UsageError(f"'{path}' exists already; {if_exists}.")
    if kind is not None and _belongs_to_another(target):
        raise UsageError(f"'{path}' belongs to another user, and only that user can replace it; choose another file.")
    return target


def check_folder(path: str | Path, *, with_parents: bool = True) -> None:
    """Refuse a path at which no folder of outputs can be, before any work is done.

    Parameters
    ----------
    path
        The folder to write into; it need not exist.
    with_parents
        Whether the folders around it are created too.

    Raises
    ------
    UsageError
        If the path, or a folder around it, is no folder, cannot be written to, or is missing and not to be created.
    """
    path = Path(path)
    kind = _kind(path)
    if kind not in (None, stat.S_IFDIR):
        raise UsageError(f"'{path}' is not a folder; name the folder to write.")
    if kind is None and not with_parents and not os.path.isdir(path.parent):
        raise UsageError(_no_folder(path.parent))
    existing = Path(os.path.realpath(path))
    while _kind(existing) is None and existing != existing.parent:
        existing = existing.parent
    if _kind(existing) != stat.S_IFDIR:
        raise UsageError(_no_folder(existing))
    if not os.access(existing, os.W_OK):
        raise UsageError(f"Folder '{existing}' cannot be written to; choose another place.")


def unreadable(path: Path, error: OSError) -> QpibenchError:
    """Return the error for a file that cannot be opened for reading: UsageError if its path is at fault."""
    if isinstance(error, FileNotFoundError):
        return UsageError(f"There is no file '{path}'.")
    kind = UsageError if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG) else QpibenchError
    return kind(f"'{path}' cannot be read: {error.strerror}.")


def make_folder(path: Path) -> None:
    """Create a folder of outputs and those around it, unless it exists.

    Raises
    ------
    UsageError
        If that is not possible.
    """
    check_folder(path)
    try:
        Path(os.path.realpath(path)).mkdir(parents=True, exist_ok=True)  # a dangling link is followed too
    except OSError as error:
        raise UsageError(f"Folder '{path}' cannot be created: {error.strerror}; choose another place.") from None


def write_whole(path: str | Path, content: bytes, *, what: str) -> None:
    """Write a file such that its name holds the old content or the new one, never a part.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    content
        All of it.
    what
        The name of such a file in a message, such as ``"Report"``.

    Raises
    ------
    UsageError
        As :func:`check_file`.
    QpibenchError
        If writing fails, as on a full disk.
    """
    with WholeFile(path, what=what) as file:
        file.write(content)
        file.commit()


class WholeFile:
    """A file that appears whole when it is committed, or not at all; use it as a context manager.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    what
        The name of such a file in a message, such as ``"Report"``.

    Attributes
    ----------
    fd
        A descriptor of that file, open for reading and writing.

    Raises
    ------
    UsageError
        As :func:`check_file`.
    QpibenchError
        From the methods, if writing fails, as on a full disk.
    """

    def __init__(self, path: str | Path, *, what: str) -> None:
        self._path, self._what = Path(path), what
        self._target = check_file(path)
        self._temporary = self._target.with_name(f".{self._target.name}.{secrets.token_hex(4)}.partial")
        unnamed_fd = _open_unnamed(self._target.parent)
        self._unnamed = unnamed_fd is not None
        try:
            named = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            self.fd = os.open(self._temporary, named, 0o666) if unnamed_fd is None else unnamed_fd
        except OSError as error:
            raise self.explained(error) from None

    def write(self, content: bytes) -> None:
        """Append to the content."""
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(self.fd, left) :]
        except OSError as error:
            raise self.explained(error) from None

    def commit(self) -> None:
        """Close the file and let it appear under its name."""
        try:
            os.fsync(self.fd)
            if self._unnamed:
                _give_name(self.fd, self._temporary)
            self._close()  # Windows renames no open file
            put_in_place(self._temporary, self._target)
            sync_folder(self._target.parent)
        except OSError as error:
            raise self.explained(error) from None

    def explained(self, error: OSError) -> QpibenchError:
        """The error of the user for one of the operating system."""
        kind = UsageError if error.errno in _PLACE_AT_FAULT else QpibenchError
        return kind(f"{self._what} '{self._path}' cannot be written: {error.strerror or error}.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()
        self._temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)


def put_in_place(finished: Path, target: Path) -> None:
    """Rename a file that is complete and on the disk to its target, which keeps its permissions if it exists.

    Raises
    ------
    UsageError
        If the target has become something else than a regular file.
    OSError
        If renaming fails.
    """
    check_file(target)
    with suppress(FileNotFoundError):
        finished.chmod(stat.S_IMODE(target.stat().st_mode) & 0o777)
    finished.replace(target)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a crash, on file systems that can."""
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _open_unnamed(folder: Path) -> int | None:
    """Open a new file without a name in a folder; None where the system or the file system has no such files."""
    if sys.platform != "linux" or not os.path.isdir(_OWN_DESCRIPTORS):
        return None
    with suppress(OSError):
        return os.open(folder, os.O_RDWR | os.O_TMPFILE, 0o666)
    return None


def _give_name(fd: int, path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # Naming a folder is what makes Python follow the link to the file, see linkat(2).
        os.link(f"{_OWN_DESCRIPTORS}/{fd}", path, src_dir_fd=folder)
    finally:
        os.close(folder)


def _kind(path: Path) -> int | None:
    """The type bits of what a path names once its links are followed, or None if there is nothing."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UsageError(f"'{path}' is a loop of links; choose another place.") from None
        raise UsageError(f"'{path}' cannot be written: {error.strerror}; choose another place.") from None
    except ValueError as error:  # a null character, or characters that no file name of this system has
        raise UsageError(f"{str(path)!r} is no file name: {error}; choose another.") from None


def _belongs_to_another(file: Path) -> bool:
    """Whether a file is another user's, in a folder where only owners may replace files (the sticky bit of /tmp)."""
    if not hasattr(os, "geteuid") or os.geteuid() == 0:  # Windows, or root, who may
        return False
    folder = file.parent.stat()
    return bool(folder.st_mode & stat.S_ISVTX) and os.geteuid() not in (folder.st_uid, file.stat().st_uid)


def _followed(path: Path) -> tuple[Path, str]:
    """The file that a path names, and how a message calls it; the path itself if it is no link."""
    if not os.path.islink(path):
        return path, f"'{path}'"
    target = Path(os.path.realpath(path))
    return target, f"'{path}', a link to '{target}',"


def _check_name(path: Path) -> None:
    length = len(os.fsencode(path.name))
    if length > MAX_NAME_BYTES:
        raise UsageError(
            f"The file name '{path.name}' is too long: it has {length} bytes, and {MAX_NAME_BYTES} are allowed; choose"
            " a shorter one."
        )


def _no_folder(folder: Path, *, capital: bool = True) -> str:
    if os.path.lexists(folder) and not os.path.isdir(folder) and not os.path.islink(folder):
        return f"'{folder}' is not a folder; choose another place."
    return f"{'F' if capital else 'f'}older '{folder}' does not exist; create it first."
