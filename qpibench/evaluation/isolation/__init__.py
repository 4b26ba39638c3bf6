"""Isolation: runs a model in a worker process that receives inputs only."""
