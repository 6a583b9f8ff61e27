"""Metrics: measurements of denoisers, one per file."""
