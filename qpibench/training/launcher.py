"""Several processes that train together: ``python -m qpibench.training.launcher N MODULE ARGUMENT...``.

This is ``torch.distributed.run`` on one machine, but silent: what a process has to say it says itself, and that one
failed or was told to end is known to those who started it.
"""

from __future__ import annotations

import logging
import os
import sys

from qpibench.training.variables import PARENT


def main() -> None:
    """Run a module in N processes, and end with exit code 0 if all of them did."""
    count, module, *arguments = sys.argv[1:]
    os.environ[PARENT] = str(os.getpid())
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable()
    try:
        run.main(["--standalone", f"--nproc-per-node={count}", "-m", module, *arguments])
    except (ChildFailedError, SignalException):
        sys.exit(1)


if __name__ == "__main__":
    main()
