"""``python -m gahbench``."""

from gahbench.cli import main

main()
