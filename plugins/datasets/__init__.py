"""Image families, one file each."""
