"""Template of `qpibench new`: a commented model that runs and follows the model contract."""

TEMPLATE = '''"""A model for qpibench: from observations to the kernel of their scatterers.

    qpibench check {name}
    qpibench evaluate {name} --release RELEASE.h5 --map exact -o RESULT.json

This one divides in Fourier space (a Wiener filter). Replace it by something better.
"""

import numpy as np

# What the model needs to see: "image", "raster" (the activation map as well) or "positions" (the coordinates as well).
needs = "raster"

# Prior knowledge that is built in, shown on the leaderboard: such as "eq. 7", "non-negativity" or "folds".
knows = []

# Files beside this one that the model reads; their hashes are part of its identity.
# weights = ["my_weights.npz"]

# What the model was trained on, if it was.
# trained_on = "my own images"

# Whether it can predict the kernels of two species of scatterers, when batch.species_count is 2: then batch.species has
# the species of each scatterer, if the species are not hidden, and a kernel is (n, species, y, x).
# takes_species = True

# The only rows and columns that its images and kernels may have, if it cannot take any size.
# takes_pixels = (64, 64)

# Added to the map's power spectrum, in units of its mean, so that no frequency is divided by nearly nothing.
REGULARISATION = 0.3


def predict(batch):
    """Estimate the kernel of every observation.

    batch.image           (n, y, x) float32, the observations
    batch.activation_map  (n, y, x) float32, where the scatterers are; None unless --map is given
    batch.position_nm     (n, scatterer, 2) float64, x and y in nm, padded with NaN; None but in the view "positions"
    batch.grid            pixels and size of the observations: ny, nx, size_y_nm, size_x_nm, y_nm, x_nm
    batch.kernel_grid     the same for the kernel that is wanted

    Return (n, y, x) floating-point kernels in the units of the images, or a qpibench.Prediction. The prediction for an
    image must not depend on the other images of the batch.
    """
    (ny, nx), (kernel_ny, kernel_nx) = batch.grid.shape, batch.kernel_grid.shape
    padded = (2 * ny, 2 * nx)  # padding, so that ripples that leave the field do not return on the other side
    image = np.fft.rfft2(batch.image, padded)
    scatterers = np.fft.rfft2(batch.activation_map, padded)
    power = np.abs(scatterers) ** 2
    spectrum = image * scatterers.conj() / (power + REGULARISATION * power.mean(axis=(1, 2), keepdims=True))
    # The scatterer sits at pixel 0; the kernel's window has it in its middle, between two pixels if it is even.
    middle = np.fft.fftfreq(2 * ny)[:, None] * (kernel_ny - 1) / 2 + np.fft.rfftfreq(2 * nx) * (kernel_nx - 1) / 2
    kernel = np.fft.irfft2(spectrum * np.exp(-2j * np.pi * middle), padded)
    return kernel[:, :kernel_ny, :kernel_nx].astype(np.float32)


# A model that learns is a class instead:
#
# class Model:
#     def fit(self, train):              # called once, before predict
#         train.kernels                  # (kernel, y, x): every training kernel once
#         for rows in train.batches(64): # rows.image, rows.activation_map, ..., and the true rows.kernel
#             ...
#
#     def predict(self, batch): ...
#
# A torch.nn.Module is a model as well, in evaluation mode and without gradients:
#
# class Model(torch.nn.Module):                  # under another name: qpibench evaluate {name}:NAME
#     needs = "raster"                           # without it, forward gets the image alone
#     weights = ["my_weights.pt"]                # beside this file
#
#     def __init__(self):
#         super().__init__()
#         self.net = ...
#         self.load_state_dict(torch.load(Path(__file__).with_name("my_weights.pt")))
#
#     def forward(self, image, activation_map):  # (n, 1, y, x) float32 tensors on the device of its parameters
#         return self.net(...)                   # (n, 1, y, x) or (n, y, x)
'''
