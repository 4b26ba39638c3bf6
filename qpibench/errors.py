"""Exceptions of the package, one class per exit code of the command line.

=====  ==========================================================
code   meaning
=====  ==========================================================
0      done
1      failure: the work was started and could not be finished
2      usage: the request itself cannot be understood or granted
3      invalid data, or a hash that does not match
4      a device or an optional package is not available
5      a benchmark that is compared with an earlier run fell
130    interrupted by Ctrl-C, SIGTERM or SIGHUP; no class here
141    what read the output has ended, as head does; no class here
=====  ==========================================================

Every message is one sentence (or two) that names the file or value, what was expected, what was found and what to do.
"""


class QpibenchError(Exception):
    """A failure that is explained to the user in one sentence; exit code 1."""

    exit_code = 1


class UsageError(QpibenchError):
    """The request cannot be understood or granted; exit code 2."""

    exit_code = 2


class InvalidDataError(QpibenchError):
    """A file or an array is not what it must be, or a hash does not match; exit code 3."""

    exit_code = 3


class UnavailableError(QpibenchError):
    """A device, a processor mode or an optional package is not available; exit code 4."""

    exit_code = 4


class RegressionError(QpibenchError):
    """A figure of a benchmark fell by more than its own spread; exit code 5."""

    exit_code = 5


def reason(error: BaseException) -> str:
    """Return what an error of a library says, or else its class, on one line and without its full stop."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()).rstrip(".") or type(error).__name__
