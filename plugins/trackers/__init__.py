"""Trackers: export of runs to experiment tracking tools."""
