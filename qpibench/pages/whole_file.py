"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from qpibench.errors import QpibenchError, UsageError


def write_whole(path: Path, content: bytes, *, what: str) -> None:
    """Write a file such that its name holds the old content or the new one, never a part.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    content
        All of it.
    what
        What the message calls the file, such as ``"Report"``.

    Raises
    ------
    UsageError
        If the folder is missing or cannot be written to.
    QpibenchError
        If writing fails, as on a full disk.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=".partial", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        unusable = isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError))
        raise (UsageError if unusable else QpibenchError)(
            f"{what} '{path}' cannot be written: {error.strerror}."
        ) from None
