"""The command line, one file per command; a command calls the package and prints the outcome."""
