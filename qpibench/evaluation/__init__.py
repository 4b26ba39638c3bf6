"""Evaluation: runs an isolated model, scores its predictions, and writes results and reports."""
