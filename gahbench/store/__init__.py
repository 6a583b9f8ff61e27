"""The results folder on disk: its plan, lock, finished units and failures."""
