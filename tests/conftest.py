"""Settings of the whole suite."""

from hypothesis import settings

# The same examples on every run: a failure is a change of the code, never of the draw.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")
