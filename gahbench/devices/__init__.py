"""Processors and GPUs: what each kind of device can do, and what to do when its memory runs out."""
