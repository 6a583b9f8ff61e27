"""Leaves: what every room may use, and which uses none."""
