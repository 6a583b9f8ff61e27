"""Paths that compute on a device, on the stand-in for a GPU.

``python -m tests.devices`` from the root of the repository runs them all, and counts what a GPU would wait for.
"""
