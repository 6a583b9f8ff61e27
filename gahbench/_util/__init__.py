"""Helpers that all packages of gahbench may import, and that import none of them."""
