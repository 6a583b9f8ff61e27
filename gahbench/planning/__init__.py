"""From suite files to units of work; nothing is run."""
