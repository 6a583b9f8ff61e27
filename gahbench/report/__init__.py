"""What people read: the board as tables, as nested JSON, and as figures."""
