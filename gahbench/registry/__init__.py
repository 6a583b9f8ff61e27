"""Plugins: hooks, registration, specs, parameters, sources and their digests."""
