"""The board as tables and as figures."""
