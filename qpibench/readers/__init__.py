"""Readers of foreign files: of images that become a release, and of a microscope's maps."""
