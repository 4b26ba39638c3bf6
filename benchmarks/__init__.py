"""How fast, how exact and how large: the figures of the README, each measured beside its reference."""
