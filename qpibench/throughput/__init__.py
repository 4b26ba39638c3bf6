"""How fast qpibench is over time: runs of the benchmarks read, compared and drawn."""
