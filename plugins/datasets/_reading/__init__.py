"""Readers of images from files: they decode, check, crop, resize, split and cache them."""
