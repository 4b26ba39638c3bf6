"""The entry polar without its step for scatterers beyond the edges of the field, to measure what that step is worth.

qpibench evaluate benchmarks/entries/ignored_edge.py --track robust/open-edge --data DATA -o ignored_edge.json
"""

import math
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "baselines"))

from polar import Model, knows, needs  # noqa: F401
from shared import polar_search

polar_search.EDGE_EXCESS = math.inf  # no residual shows waves from outside
