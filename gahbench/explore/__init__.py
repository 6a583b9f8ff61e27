"""Inspection of datasets and denoisers, without training."""
