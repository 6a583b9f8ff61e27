"""Claims, and tables of known values, for tests of verdicts."""

from __future__ import annotations

from dataclasses import replace

import fake_results
import numpy as np

import gahbench
from gahbench.board.claims import Table, judge, measure_cases
from gahbench.contracts.claims import Claim, Measure, Region

PAPER = gahbench.Citation("Author, First", "A paper", 2026)
SIGMAS = (0.01, 0.1, 1.0)
NOISY = -20 * np.log10(SIGMAS)


def claim(region, metric="psnr", entrants=("net",), datasets=("discs",), requires=(), suite="quick", **fields):
    measure = Measure(metric, entrants, datasets, **fields)
    return Claim("one", PAPER, "figure 1", "abstract", "A statement.", measure, region, suite, requires=requires)


def values(mean, spread=0.0, images=20, seed=0):
    """Return values, shape (S, N), with exactly these means and standard deviations over images."""
    noise = np.random.default_rng(seed).normal(size=(len(mean), images))
    noise -= noise.mean(axis=1, keepdims=True)
    return np.asarray(mean)[:, None] + spread * noise / (noise.std(axis=1, keepdims=True) if images > 1 else 1)


def table(*scores, sources=(), ratios=None, **tables):
    """Return a table of rows, with the sources of images by dataset, and the parts of a ratio."""
    all_rows = [row for group in scores for row in group]
    names = dict.fromkeys(row["dataset"] for row in all_rows)
    datasets = [{**fake_results.dataset(name), "sources": dict(sources).get(name, "")} for name in names]
    results = fake_results.results(all_rows, datasets=datasets, **tables)
    if ratios is not None:
        frame = gahbench.Results.__dataclass_fields__["ratios"].default_factory().copy()
        frame.loc[0] = ratios
        results = replace(results, ratios=frame)
    return Table("fake", results)


def rows(entrant, mean, dataset="discs", metric="psnr", sigmas=SIGMAS, spread=0.0, **fields):
    options = {name: fields.pop(name) for name in ("seed", "split") if name in fields}
    score_rows = fake_results.rows(
        dataset, entrant, "trained", values(mean, spread, **fields), sigmas=sigmas, metric=metric, **options
    )
    if fields.get("images") == 1 and np.isnan(sigmas).all():
        # Such values describe a whole training run, as training times do.
        score_rows = [{**row, "image": None} for row in score_rows]
    return score_rows


def verdict(claim_, *tables):
    return judge("paper/one", claim_, [case for table in tables for case in measure_cases(claim_, table)])


def exactly(value):
    return Region(start=value - 1e-9, end=value + 1e-9)
