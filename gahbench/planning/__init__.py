"""Planning: suite files are turned into units of work, which other packages run."""
