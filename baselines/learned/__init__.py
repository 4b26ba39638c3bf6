"""Code that the learned entries share: sources of images, the training loop, networks and recipes; needs PyTorch."""
