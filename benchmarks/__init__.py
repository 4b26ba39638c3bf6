"""Benchmarks of speed, accuracy and memory, each beside its reference; docs/performance.md shows the figures."""
