"""``python -m qpibench``, the command line for launchers that start a module."""

from qpibench.cli.main import main

if __name__ == "__main__":
    main()
