"""What people read: the board as tables and as figures."""
