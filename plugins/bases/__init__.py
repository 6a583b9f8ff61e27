"""Bases, one file each."""
