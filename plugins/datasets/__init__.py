"""Datasets: families of images, one per file."""
