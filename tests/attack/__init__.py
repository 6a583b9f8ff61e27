"""Attacks on gahbench: what strangers may bring, and that it harms nobody else's numbers."""
