"""Loading of weights from other programs without running their code, and conversion to architectures of gahbench."""
