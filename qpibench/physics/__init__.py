"""What an image is: float64 NumPy references, written to be read. Every fast path is tested against them."""
