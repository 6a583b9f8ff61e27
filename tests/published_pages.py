"""Published results and their pages, which one process reads: that of the files that import this module."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import scipy.stats

from gahbench.board import results as published_results
from gahbench.board.cube import metric_cubes, share_spreads
from gahbench.board.metric_names import parse_agreement

ROOT = Path(__file__).parents[1]
PUBLISHED = sorted(file.parent.name for file in (ROOT / "results").glob("*/results.json"))


@functools.cache
def load_results(name):
    """Return published results; tests share them, with their board, and must not change them."""
    return published_results.load_results(ROOT / "results" / name)


def page(name):
    return (ROOT / "results" / name / "README.md").read_text(encoding="utf-8")


def mean_and_half_width(differences):
    """Return the mean over photographs with half its 95 % t interval, as text."""
    half_width = scipy.stats.t.ppf(0.975, len(differences) - 1) * differences.sem()
    return f"{differences.mean():.2f} ±{half_width:.2f}".replace("-", "−")


@functools.lru_cache(maxsize=64)
def direction_cubes(results, basis):
    """Return the cubes of the direction with a basis, and of the images that it leaves out, each by dataset."""
    names = {str(name): parse_agreement(str(name)) for name in results.scores["metric"].unique()}
    found = [sorted(name for name in names if names[name] == ("direction", basis, part)) for part in ("", "left-out")]
    cubes = metric_cubes(results, [name for part in found for name in part[-1:]])
    return [cubes.get(part[-1], {}) if part else {} for part in found]


@functools.lru_cache(maxsize=64)
def difference_cubes(results, basis, other):
    """Return the cubes of the paired differences between directions with two bases, by dataset."""
    first, second = (direction_cubes(results, name)[0] for name in (basis, other))
    pairs = {name: (cube, second[name]) for name, cube in first.items() if name in second}
    return share_spreads(
        {
            name: dataclasses.replace(one, values=one.values - two.reindex_like(one))
            for name, (one, two) in pairs.items()
        }
    )


def margin(results, dataset, entrant, basis, other, sigma=None):
    """Return the paired difference between directions with two bases, and its ends; ``None`` if a value is missing."""
    cube = difference_cubes(results, basis, other).get(dataset)
    if cube is None or entrant not in cube.entrants:
        return None
    levels = set()
    for part in (part for name in (basis, other) for part in direction_cubes(results, name)):
        if dataset in part and entrant in part[dataset].entrants:
            has_value = np.isfinite(part[dataset].values[part[dataset].entrants.index(entrant)]).any(axis=(1, 2))
            levels |= {level for level, is_known in zip(part[dataset].sigmas, has_value, strict=True) if is_known}
    levels = levels if sigma is None else {sigma}
    if not levels or not levels <= set(cube.sigmas):
        return None
    sample = cube.shared_sample.row(cube.entrants.index(entrant))
    sample = sample.at([cube.sigmas.index(level) for level in sorted(levels)])
    mean = sample.apply(lambda array: array.mean(axis=-1, keepdims=True)).intervals()[0]
    return dataclasses.astuple(mean) if np.isfinite(mean.value) else None
