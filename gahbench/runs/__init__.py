"""Running suites, and using their results folders: reuse, adoption, comparison, verification and removal."""
