"""Architectures: trainable denoisers, one per file."""
