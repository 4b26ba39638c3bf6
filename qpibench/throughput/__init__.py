"""History of the benchmarks: reads, compares and draws their runs."""
