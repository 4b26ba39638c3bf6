"""Running a model in a process of its own, which is given inputs only."""
