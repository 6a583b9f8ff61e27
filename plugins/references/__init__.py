"""References: denoisers that gahbench does not train, one per file."""
