"""Arithmetic with defined bits: Philox, elementary functions, IEEE operations, the check for flush-to-zero.

``docs/arithmetic.md`` defines all of it.
"""
