"""qpibench: generate quasiparticle-interference images fast and exactly, and evaluate how well models recover the kernel."""

__version__ = "0.1.0"
