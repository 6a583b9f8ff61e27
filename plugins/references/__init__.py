"""Denoisers that are not trained, one file each."""
