"""Starts several processes that train together: ``python -m qpibench.training.launcher N MODULE ARGUMENT...``.

This is ``torch.distributed.run`` on one machine without its messages: each training process reports its own errors, and
the exit code says whether all of them succeeded.
"""

from __future__ import annotations

import logging
import os
import sys

from qpibench.training.variables import PARENT


def main() -> None:
    """Run a module in N processes; the exit code is 0 if all of them end with 0."""
    count, module, *arguments = sys.argv[1:]
    os.environ[PARENT] = str(os.getpid())
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # as logging.disable() below, for what is not Python
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable()
    try:
        # The processes would else meet at the name of this machine, which not every machine can look up.
        here = ["--standalone", "--local-addr=127.0.0.1"]
        run.main([*here, f"--nproc-per-node={count}", "-m", module, *arguments])
    except (ChildFailedError, SignalException):
        sys.exit(1)


if __name__ == "__main__":
    main()
