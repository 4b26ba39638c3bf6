"""Gallery: one picture of a spec with kernels, images, and the effect of each corruption, above their spectra."""
