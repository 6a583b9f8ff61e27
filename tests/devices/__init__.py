"""Code paths that compute on a device, run on the stand-in GPU.

``python -m tests.devices`` in the root of the repository runs all paths, and counts the waits for a GPU.
"""
