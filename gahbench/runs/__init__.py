"""Running suites, and using their results folders: reuse, comparison and verification."""
