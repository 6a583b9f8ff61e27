"""The results folder: finished units, failures, arrays."""
