"""Script that reports which keys change under which edits of the code.

Run ``python keys_under_edits.py I`` in a copy of the source tree with ``gahbench``, ``gahbench_plugins`` and
``gahbench_suites``, for half I of the edits, 0 or 1. The script edits files of the copy and restores them. It prints
JSON: for each edit, its row in the table of CONTRIBUTING and the units whose keys changed. Edits that must not change
any key are made together.
"""

import itertools
import json
import re
import sys
from pathlib import Path

PLUGIN = '''"""A network."""
import torch
from torch import nn
import gahbench
from helper_of_mine import gain


@gahbench.hookimpl
def register_architectures(register):
    register("mine", Mine)


class Mine(nn.Module):
    """One convolution."""

    def __init__(self, channels: int, width: int = 4) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Return the denoised images."""
        return noisy - 0.5 * gain(self.layer(noisy))
'''
HELPER = '''"""A helper."""


def gain(images):
    """Amplify."""
    return 1.5 * images
'''
SUITE = """
name: keys
datasets: ["discs[size=16]"]
entrants: [mine, identity]
training: {steps: 2, batch_size: 2, compile: never}
scoring: {sigmas: [0.1], images: 28, metrics: [psnr, "alignment[dct]", sampling]}
"""
#: Rows of the table in CONTRIBUTING.
NOTHING = "docstring, comment, formatting or annotation, anywhere"
RENAMED = "module moved, import renamed"
OTHERS = "constant in planning, store, board, report, command line"
FIT = "constant in the trainer, its batches, the initialisation"
OWN = "constant in the architecture or its helper"
#: Row of the table, file, replaced text and replacement. The rows of the first edits have no mark in the table.
EDITS = (
    (NOTHING, "mine.py", '"""One convolution."""', '"""One convolution, no more."""'),
    (NOTHING, "gahbench/_util/noise.py", '"""Return a seed', '"""Give a seed'),
    (NOTHING, "mine.py", "        super()", "        # First of all.\n        super()"),
    (NOTHING, "mine.py", "noisy - 0.5 * gain(self", "noisy - (\n            0.5) * gain((self"),
    (NOTHING, "mine.py", "layer(noisy))", "layer(noisy)))"),
    (NOTHING, "mine.py", "width: int = 4", "width: 'int' = 4"),
    (RENAMED, "mine.py", "import gain", "import gain as amplify"),
    (RENAMED, "mine.py", "gain((self", "amplify((self"),
    (OTHERS, "gahbench/board/statistics.py", "DRAWS = 2000", "DRAWS = 3000"),
    (OTHERS, "gahbench/planning/suite_entries.py", "MAX_LABEL = 200", "MAX_LABEL = 201"),
    (OTHERS, "gahbench/store/units.py", 'PARTIAL = ".partial"', 'PARTIAL = ".attempt"'),
    (OTHERS, "gahbench/cli/folders.py", "_MAX_FAILURES = 20", "_MAX_FAILURES = 21"),
    (OWN, "mine.py", "0.5 *", "0.25 *"),
    (OWN, "helper_of_mine.py", "1.5 *", "2.5 *"),
    ("constant in the seeds", "gahbench/_util/noise.py", '"big") >> 1', '"big") >> 2'),
    ("constant in the noise of evaluation", "gahbench/_util/noise.py", "return sigma * draw", "return 2 * draw"),
    (FIT, "gahbench/training/trainer.py", "loss.detach()", "2 * loss.detach()"),
    (FIT, "gahbench/training/batches.py", "IMAGES_PER_SEED = 1 << 32", "IMAGES_PER_SEED = 1 << 31"),
    (FIT, "gahbench/networks/initialisation.py", "a=0,", "a=1,"),
    ("constant in the sampler", "gahbench/sampling/drawing.py", "math.sqrt(max(0.0,", "math.sqrt(max(1e-9,"),
    ("constant in alignment", "gahbench/evaluation/alignment.py", "UNCHANGING = 1e-4", "UNCHANGING = 1e-3"),
    ("constant in the Jacobians", "gahbench/jacobian/autograd.py", "ERROR_PROBES = 0.01", "ERROR_PROBES = 0.02"),
    ("constant in the evaluation", "gahbench/evaluation/evaluation.py", 'f"draw {draw}"', 'f"draws {draw}"'),
    ("constant in the metric", "gahbench_plugins/metrics/psnr.py", "mul(255)", "mul(254)"),
    ("constant in the dataset", "gahbench_plugins/datasets/discs.py", "EDGE = 0.5", "EDGE = 0.6"),
)


def keys(folder: Path) -> dict[str, str]:
    from gahbench.planning.plan import make_plan
    from gahbench.planning.suite import load_suite
    from gahbench.registry.behaviour import function_digest
    from gahbench.registry.registry import Registry

    function_digest.cache_clear()
    registry = Registry((folder / "mine.py",))
    plan = make_plan(load_suite(folder / "suite.yaml", registry))
    return {f"{unit.metric or 'fit'} of {unit.entrant}": unit.key for unit in plan.units}


def move_modules(folder: Path) -> None:
    """Move two modules, and update their imports."""
    (folder / "helper_of_mine.py").rename(folder / "other_name.py")
    mine = folder / "mine.py"
    mine.write_text(mine.read_text().replace("from helper_of_mine", "from other_name"))
    (folder / "gahbench/evaluation/alignment.py").rename(folder / "gahbench/evaluation/alike.py")
    for file in [*folder.glob("gahbench/**/*.py"), *folder.glob("gahbench/**/*.pyi")]:
        text = file.read_text()
        updated = re.sub(r"(gahbench\.evaluation|from )\.alignment import", r"\1.alike import", text)
        if updated != text:
            file.write_text(updated)


def main() -> None:
    folder = Path.cwd()
    for name, text in (("mine.py", PLUGIN), ("helper_of_mine.py", HELPER), ("suite.yaml", SUITE)):
        (folder / name).write_text(text)
    before = keys(folder)
    changes = []

    def record(rows):
        after = keys(folder)
        changed = [unit for unit, key in before.items() if after[unit] != key]
        changes.extend((row, changed) for row in dict.fromkeys(rows))

    together = (NOTHING, RENAMED, OTHERS)
    half, grouped = int(sys.argv[1]), itertools.groupby(EDITS, lambda edit: edit if edit[0] not in together else None)
    for edits in [list(group) for _, group in grouped][half::2]:
        originals = {}
        for row, file, old, new in edits:
            path = folder / file
            text = path.read_text()
            assert old in text, (row, old)
            originals.setdefault(path, text)
            path.write_text(text.replace(old, new, 1))
        record(row for row, *_ in edits)
        for path, text in originals.items():
            path.write_text(text)
    if half:
        move_modules(folder)
        record([RENAMED])
    print(json.dumps(changes))


if __name__ == "__main__":
    main()
