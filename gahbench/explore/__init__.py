"""Looks at datasets and denoisers that train nothing."""
