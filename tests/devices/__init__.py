"""Devices: their kinds, memory, and all code paths on a stand-in for a GPU."""
