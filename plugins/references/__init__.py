"""References: denoisers that are not trained, one per file."""
