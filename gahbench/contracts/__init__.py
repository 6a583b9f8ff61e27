"""The nouns: what plugins implement, and what they are handed; a file for each.

Everywhere, images are float32 tensors of shape (N, C, H, W) in units where an image lies in [0, 1], and ``sigma`` is
the standard deviation of the noise in the same units.
"""
