"""The suites that gahbench ships."""
