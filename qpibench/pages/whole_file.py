"""The former place of :func:`qpibench.files.write_whole`, from which published entries import it.

The hash of an entry's code is in its results, so its imports stay as they are.
"""

from qpibench.files import write_whole

__all__ = ["write_whole"]
