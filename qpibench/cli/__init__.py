"""The command line: one command per file, which asks the package for an answer and says it."""
