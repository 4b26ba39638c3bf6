"""The elements of the exact path: Philox, elementary functions, IEEE operations, and the check of flush-to-zero."""
