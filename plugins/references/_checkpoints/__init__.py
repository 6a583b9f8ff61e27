"""Trained weights of others: read without running what is in a file, and fitted to an architecture."""
