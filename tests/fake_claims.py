"""Claims, and tables whose values are known, for tests of verdicts."""

from __future__ import annotations

from dataclasses import replace

import fake_results
import numpy as np

import gahbench
from gahbench.board.claim_values import Table
from gahbench.board.claims import judge
from gahbench.contracts.claims import Claim, Measure, Region

PAPER = gahbench.Citation("Author, First", "A paper", 2026)
SIGMAS = (0.01, 0.1, 1.0)
NOISY = -20 * np.log10(SIGMAS)


def claim(region, metric="psnr", entrants=("net",), datasets=("discs",), requires=(), suite="quick", **fields):
    measure = Measure(metric, entrants, datasets, **fields)
    return Claim("one", PAPER, "figure 1", "memory", "A statement.", measure, region, suite, requires=requires)


def values(mean, spread=0.0, images=20, seed=0):
    """Values (S, N) whose means and standard deviations over images are exactly these."""
    noise = np.random.default_rng(seed).normal(size=(len(mean), images))
    noise -= noise.mean(axis=1, keepdims=True)
    return np.asarray(mean)[:, None] + spread * noise / (noise.std(axis=1, keepdims=True) if images > 1 else 1)


def table(*scores, sources=(), ratios=None, **tables):
    """A table of rows; with the sources of images by dataset, and the parts of a ratio that a metric defines."""
    every = [row for rows_of_one in scores for row in rows_of_one]
    names = dict.fromkeys(row["dataset"] for row in every)
    datasets = [{**fake_results.dataset(name), "sources": dict(sources).get(name, "")} for name in names]
    found = fake_results.results(every, datasets=datasets, **tables)
    if ratios is not None:
        frame = gahbench.Results.__dataclass_fields__["ratios"].default_factory().copy()
        frame.loc[0] = ratios
        found = replace(found, ratios=frame)
    return Table("fake", found)


def rows(entrant, mean, dataset="discs", metric="psnr", sigmas=SIGMAS, spread=0.0, **fields):
    shown = {name: fields.pop(name) for name in ("seed", "split") if name in fields}
    found = fake_results.rows(
        dataset, entrant, "trained", values(mean, spread, **fields), sigmas=sigmas, metric=metric, **shown
    )
    if fields.get("images") == 1 and np.isnan(sigmas).all():
        # Of a training as a whole, as times are.
        found = [{**row, "image": None} for row in found]
    return found


def verdict(one, *tables):
    return judge("paper/one", one, tables)


def exactly(value):
    return Region(start=value - 1e-9, end=value + 1e-9)
