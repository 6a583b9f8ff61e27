"""Engines, which run work units."""
