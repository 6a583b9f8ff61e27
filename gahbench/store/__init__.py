"""The results folder on disk: its plan, finished units, failures and leases."""
