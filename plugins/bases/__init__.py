"""Bases: transforms of images to coefficients and back, one per file."""
