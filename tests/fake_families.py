"""A plugin file of image families with closed-form optima, for tests of previews."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gahbench

HEAD = """
import torch
import gahbench

@gahbench.hookimpl
def register_datasets(register):
    register("white", White)
    register("genied", Genied)
    register("noiseless-genie", NoiselessGenie)
    register("files", Files)
    register("mine", Mine)

class White(gahbench.Dataset):
    '''White Gaussian images, whose posterior has a closed form.'''

    shape = (1, 10, 8)

    def __init__(self, spread: float = 0.1, height: int = 10, width: int = 8, depth: int = 1):
        self.spread = spread
        self.shape = (depth, height, width)

    def images(self, split, count, start=0):
        seeds = [10_000 * len(split) + 1_000 * ord(split[0]) + index for index in range(start, start + count)]
        draws = [torch.randn(self.shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return 0.5 + self.spread * torch.stack(draws)

    @property
    def optimum(self):
        return gahbench.Optimum("exact", 0.0)

    def weight(self, sigma):
        return self.spread**2 / (self.spread**2 + sigma**2)

    def posterior(self, noisy, sigma):
        trace = noisy[0].numel() * sigma**2 * self.weight(sigma)
        return gahbench.Posterior(0.5 + self.weight(sigma) * (noisy - 0.5), torch.full((len(noisy),), trace).double())

    has_true_basis = True

    def true_basis(self, split, count, start=0):
        size = torch.Size(self.shape).numel()
        return gahbench.TrueBasis(torch.eye(size)[None], torch.full((1, size), self.spread**2))

class Genied(White):
    @property
    def optimum(self):
        return gahbench.Optimum("bracket", 0.5)

    def posterior(self, noisy, sigma):
        raise AssertionError("the optimum is a bracket")

    def lower_bound(self, split, count, sigma, start=0):
        return torch.full((count,), sigma**2 * self.weight(sigma), dtype=torch.float64)

    def genie(self, noisy, sigma, split, start=0):
        return 0.5 + self.weight(sigma) * (noisy - 0.5)

    has_true_basis = False

    def true_basis(self, split, count, start=0):
        return None

class NoiselessGenie(Genied):
    def lower_bound(self, split, count, sigma, start=0):
        return torch.zeros(count, dtype=torch.float64)

    def genie(self, noisy, sigma, split, start=0):
        return self.images(split, len(noisy), start)

class Files(gahbench.Dataset):
    '''Images with the values 0 and 2.'''

    shape = (1, 4, 6)

    def available(self, split):
        return {"train": 6, "validation": 0, "test": 3, "A": 3, "B": 3}[split]

    def images(self, split, count, start=0):
        return torch.tensor([0.0, 2.0]).repeat(count * 12).reshape(count, *self.shape)

    def fingerprint(self):
        return "c0ffee" + "0" * 58

    @property
    def card(self):
        return gahbench.Card("[bold]Nowhere[/bold]", "CC0 [1]")
"""
MINE = "\nclass Mine(White):\n    "
#: A body of ``Mine`` whose posterior cannot be computed at low noise, and is sampled at higher noise.
HARD_AT_LOW_NOISE = (
    "def posterior(self, noisy, sigma):\n"
    "    if sigma < 0.1:\n        raise gahbench.OptimumError('too few\\neffective samples')\n"
    "    exact = super().posterior(noisy, sigma)\n"
    "    return gahbench.Posterior(exact.mean, exact.trace, torch.linspace(0.25, 1, len(noisy)))"
)


class Families:
    """The plugin file, in which a test can define the family ``mine``."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "families.py"
        self.write("pass")

    def write(self, body: str) -> None:
        """Write the file with a body of the class ``Mine``."""
        self.file.write_text(HEAD + MINE + body.replace("\n", "\n    ") + "\n")

    def preview(self, dataset: str, *arguments, body: str | None = None, **keywords) -> Any:
        """Preview a family, optionally after writing a body of the class ``Mine``."""
        if body is not None:
            self.write(body)
        return gahbench.preview(dataset, *arguments, plugins=[self.file], **keywords)
