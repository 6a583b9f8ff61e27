"""Load weights from other programs without running their code, and convert them to gahbench's architectures."""
