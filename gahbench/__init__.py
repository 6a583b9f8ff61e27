"""gahbench: how good is an image denoiser really, and why.

Plugins provide denoiser architectures, dataset families, references and bases; a suite combines plugins in a grid; a
run trains and scores the entrants of a suite, and writes a leaderboard. In a notebook::

    import gahbench

    run = gahbench.run("quick", out="runs/quick")
    run.leaderboard()

    unet = gahbench.create("architecture", "unet", width=16)
"""

import sys

if sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)] in ("gahbench", "-mgahbench") and not sys.flags.safe_path:
    # ``python -m`` puts the current folder first on the import path, and another user may have created that folder.
    sys.path.pop(0)

import lazy_loader

__version__ = "0.1.0"
# The public names, which are imported on first use, are in __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
