"""The nouns, one file each: the interfaces that plugins implement, and their arguments.

Everywhere, images are float32 tensors of shape (N, C, H, W) in units where an image lies in [0, 1], and ``sigma`` is
the standard deviation of the noise in the same units.
"""
