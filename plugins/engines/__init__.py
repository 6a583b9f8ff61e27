"""Engines: execution of work units."""
