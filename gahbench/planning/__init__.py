"""Planning: from suite files to units of work, without running them."""
