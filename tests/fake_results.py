"""Artificial results of a suite, with known structure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gahbench.board.results import Results
from gahbench.board.tables import SCHEMAS

SIGMAS = (0.01, 0.03, 0.06, 0.12, 0.25, 0.5)
FITS = {
    "parameters": 7_600_000,
    "train_seconds": 72.0,
    "steps": 1000,
    "device": "cpu",
    "precision": "fp32",
    "compiled": False,
}


def rows(dataset, entrant, kind, psnr, seed=None, sigmas=SIGMAS, metric="psnr", split="test"):
    """Return rows of scores for values of shape (S, N)."""
    psnr = np.asarray(psnr, dtype=float)
    return [
        {
            "suite": "fake", "dataset": dataset, "entrant": entrant, "kind": kind, "seed": seed,
            "split": split, "sigma": sigma, "metric": metric, "image": image, "value": value,
        }
        for sigma, values in zip(sigmas, psnr, strict=True)
        for image, value in enumerate(values)
    ]  # fmt: skip


def results(scores, fits=(), failures=(), datasets=(), entrants=None, baseline=None):
    fits, failures, datasets = list(fits), list(failures), list(datasets)
    scores = pd.DataFrame(list(scores), columns=list(SCHEMAS["scores"]))
    named = [*scores["dataset"], *(row["dataset"] for row in (*fits, *failures))]
    rows = list({row["dataset"]: row for row in [*datasets, *map(dataset, named), *datasets]}.values())
    return Results(
        suite="fake",
        scores=scores,
        fits=pd.DataFrame(list(fits), columns=list(SCHEMAS["fits"])),
        failures=pd.DataFrame(list(failures), columns=list(SCHEMAS["failures"])),
        datasets=pd.DataFrame(rows, columns=list(SCHEMAS["datasets"])),
        entrants=list(dict.fromkeys(scores["entrant"])) if entrants is None else entrants,
        baseline=baseline,
    )


def dataset(name, slope=np.nan, optimum="none"):
    shape = {"channels": 1, "height": 32, "width": 32}
    return {"dataset": name, "optimum": optimum, "slope": slope, **shape, "fingerprint": ""}


def fit(dataset, entrant, seed, budget="steps", **other):
    return dict(dataset=dataset, entrant=entrant, seed=seed, budget=budget, **(FITS | other))


def failure(dataset, entrant, seed, error, stage="fit", metric=""):
    return {"dataset": dataset, "entrant": entrant, "seed": seed, "stage": stage, "metric": metric, "error": error}


def realistic(entrants, name="c-alpha[alpha=2,size=32]", sigmas=SIGMAS, images=24, slope=2 / 3, seed=0):
    """Return results of entrants (label, kind, dB below the optimal line at the lowest noise, slope, seeds)."""
    generator = np.random.default_rng(seed)
    x = -20 * np.log10(np.asarray(sigmas))[:, None]
    difficulty = generator.normal(0, 1.5, (1, images))
    scores, fits = [], []
    for label, kind, below, own_slope, seeds in entrants:
        for s in range(seeds) if kind == "trained" else [None]:
            curve = 19 - below + own_slope * (x - 5) + difficulty + generator.normal(0, 0.25, (len(sigmas), images))
            scores += rows(name, label, kind, np.maximum(curve, x - 0.5), s, sigmas)
            similarity = 1 / (1 + np.exp(-(curve - 20) / 8))
            scores += rows(name, label, kind, similarity, s, sigmas, metric="ssim")
            if kind == "trained":
                fits.append(fit(name, label, s, train_seconds=72.0 + s))
    return scores, fits, [dataset(name, slope, "bracket")]
