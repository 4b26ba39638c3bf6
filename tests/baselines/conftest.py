import sys

from qpibench.locator import locate

# The worker puts an entry's folder on its path; here it is done once for all.
sys.path.insert(0, str(locate("baselines")))
