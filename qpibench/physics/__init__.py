"""Definitions of images and activation maps in float64 NumPy. The fast implementations are tested against them."""
