"""Helpers that all packages of gahbench may import, and that import no other package of gahbench."""
