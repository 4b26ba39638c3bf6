"""Settings of the whole suite."""

import os
import signal

from hypothesis import settings

# The same examples on every run: a failure is a change of the code, never of the draw.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")

# A suite that runs in the background is born deaf to Ctrl-C, and so would be the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests share the cores: PyTorch and BLAS get one thread, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
