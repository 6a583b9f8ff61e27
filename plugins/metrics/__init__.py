"""Measurements of a denoiser, one file each."""
