"""Trainable denoisers, one file each."""
