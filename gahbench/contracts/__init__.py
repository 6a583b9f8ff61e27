"""Interfaces that plugins implement, one file each, and their arguments.

All images are float32 tensors of shape (N, C, H, W) in units where an image lies in [0, 1], and ``sigma`` is
the standard deviation of the noise in the same units.
"""
