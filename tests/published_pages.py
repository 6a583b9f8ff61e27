"""Published results and their pages, which one process reads: that of the files that import this module."""

import dataclasses
import functools
from pathlib import Path

import scipy.stats

from gahbench.board import results as published_results

ROOT = Path(__file__).parents[1]
PUBLISHED = sorted(file.parent.name for file in (ROOT / "results").glob("*/results.json"))


@functools.cache
def load_results(name):
    """Return published results; tests share them, with their board, and must not change them."""
    return published_results.load_results(ROOT / "results" / name)


@functools.cache
def load_directions():
    """Return the results of basis with only those metrics that pages quote, whose board takes half the time."""
    results = load_results("basis")
    metrics = [
        metric
        for metric in results.scores["metric"].unique()
        if metric in ("psnr", "spectrum.above-half")
        or (
            metric.startswith(("direction[", "truth-direction"))
            # Numbers of images that a mean leaves out decide whether it is shown.
            and metric.endswith(("]", "truth-direction", ".left-out", ".basis-share", ".ceiling"))
        )
    ]
    return dataclasses.replace(results, scores=results.scores[results.scores["metric"].isin(metrics)])


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
