"""Leaves: helpers of all rooms, which import none."""
