"""Published results and their pages."""

import functools
from pathlib import Path

import scipy.stats

from gahbench.board import results as published_results

ROOT = Path(__file__).parents[1]
PUBLISHED = sorted(file.parent.name for file in (ROOT / "results").glob("*/results.json"))


@functools.cache
def load_results(name):
    return published_results.load_results(ROOT / "results" / name)


def page(name):
    return (ROOT / "results" / name / "README.md").read_text(encoding="utf-8")


def table_after(name, start, count, with_head=False):
    """Return the cells of the first table on a page after a string, without backquotes, by default without its head."""
    lines = page(name).split(start)[1].split("\n\n", 1)[1].split("\n\n")[0].splitlines()
    assert len(lines) - 2 == count
    cells = [[cell.strip().strip("`") for cell in line.strip("| ").split(" | ")] for line in lines]
    return cells if with_head else cells[2:]


def all_rows(name):
    """Return the cells of all rows of tables on a page whose first cell is code."""
    lines = [line for line in page(name).splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("| ").split(" | ")] for line in lines]


def mean_and_half_width(differences):
    """Return the mean over photographs with half its 95 % t interval, as text, and that half."""
    half_width = scipy.stats.t.ppf(0.975, len(differences) - 1) * differences.sem()
    return f"{differences.mean():.2f} ±{half_width:.2f}".replace("-", "−"), half_width
