"""Means over datasets as they are, and ranks, computed from the stored scores without gahbench.

    python tests/bench/ranks_of_datasets.py results/quick results/standard

For each entrant that is scored on all datasets: the mean PSNR over datasets, its standard error, and the interval of
its rank. The variance of a mean, and of each paired difference, is K^-2 times the sum over K datasets of s^2 / n over n
images, or sources of images, plus s_seed^2 / R over R seeds. The variance over seeds of a network is the larger of its
own, relative to the pooled variance and averaged over datasets, and the pooled variance. Degrees of freedom of the sum
are Satterthwaite's.
The largest difference in standard errors of all pairs is simulated for independent images and seeds.

The last columns are those of the board (``over_datasets.csv``), which resamples images instead. The ends of both
intervals may differ by 1 where a difference is close to its threshold.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

ROOT = Path(__file__).parents[2]
DRAWS, MIN_SOURCES = 20_000, 5
RANKED = ("trained", "classical")


def arrays(folder):
    """Yield, for each dataset, the mean PSNR over noise levels of each entrant, a table of images by seeds."""
    scores = pd.read_parquet(folder / "scores.parquet")
    scores = scores[(scores["split"] == "test") & (scores["metric"] == "psnr") & scores["sigma"].notna()]
    facts = {row["dataset"]: row for row in json.loads((folder / "results.json").read_text())["datasets"]}
    scores = scores.assign(seed=scores["seed"].fillna(-1).astype(int))
    for dataset, rows in scores.groupby("dataset"):
        tables = {}
        for entrant, own in rows.groupby("entrant"):
            tables[entrant] = own.groupby(["image", "seed"])["value"].mean().unstack("seed").sort_index().to_numpy()
        sources = np.array((facts[dataset].get("sources") or "").split(), dtype=int)
        yield dataset, tables, sources, dict(zip(rows["entrant"], rows["kind"], strict=True))


def unit_means(table, sources):
    """Return the means over seeds of independent images or, with enough of them, of sources of equal size."""
    by_image = table.mean(axis=1)
    if len(sources) and len(set(sources)) >= MIN_SOURCES:
        return np.array([by_image[sources[: len(by_image)] == source].mean() for source in np.unique(sources)])
    return by_image


def seed_variances(datasets, labels):
    """Return the variance over seeds of each entrant on each dataset, shape (K, E), and degrees of freedom, (K, E)."""
    own = np.array([[tables[label].mean(axis=0).var(ddof=1) if tables[label].shape[1] > 1 else 0.0 for label in labels]
                    for _, tables, _, _ in datasets])  # fmt: skip
    freedom = np.array([[tables[label].shape[1] - 1 for label in labels] for _, tables, _, _ in datasets], dtype=float)
    total = freedom.sum(axis=1, keepdims=True)
    pooled = (own * freedom).sum(axis=1, keepdims=True) / np.maximum(total, 1)
    is_trained = freedom[0] > 0
    ratio = np.ones(len(labels))
    ratio[is_trained] = np.maximum((own / pooled)[:, is_trained].mean(axis=0), 1)
    excess = 1 - 1 / ratio
    own_degrees = 1 / (1 / np.maximum(freedom.sum(axis=0), 1) + (1 - 1 / len(own)) / np.maximum(total, 1))
    degrees = 1 / (excess / own_degrees + (1 - excess) / np.maximum(total, 1))
    return np.where(is_trained, ratio * pooled, 0.0), degrees


def ranks(differences, errors, simulated):
    """Return the ends of the intervals of ranks from differences (E, E), standard errors and simulated differences."""
    scaled = np.abs(simulated) / np.where(errors > 0, errors, np.inf)
    threshold = np.quantile(scaled.max(axis=(1, 2)), 0.95)
    better = differences > np.maximum(threshold * errors, 1e-9)
    return 1 + better.sum(axis=0), len(differences) - better.sum(axis=1)


def compute(folder):
    """Return means, half widths and ranks of the entrants of a results folder, beside those of its board."""
    datasets = list(arrays(folder))
    kinds = {label: kind for _, _, _, own in datasets for label, kind in own.items()}
    labels = [label for label in kinds if all(label in tables for _, tables, _, _ in datasets)]
    count, generator = len(datasets), np.random.default_rng(0)
    variance, degrees = seed_variances(datasets, labels)
    means, errors_of_seeds = np.zeros(len(labels)), np.zeros(len(labels))
    image_variance = np.zeros((len(labels), len(labels)))
    simulated = np.zeros((DRAWS, len(labels)))
    parts = [[] for _ in labels]
    for index, (_, tables, sources, _) in enumerate(datasets):
        units = np.array([unit_means(tables[label], sources) for label in labels])
        seeds = np.array([tables[label].shape[1] for label in labels])
        means += np.array([tables[label].mean() for label in labels]) / count
        covariance = np.cov(units) / units.shape[1] / count**2
        diagonal = np.diag(covariance)
        image_variance += diagonal[:, None] + diagonal[None, :] - 2 * covariance
        of_seeds = variance[index] / seeds / count**2
        errors_of_seeds += of_seeds
        freedom = units.shape[1] - 1
        for entrant, part in enumerate(parts):
            part += [(diagonal[entrant], freedom), (of_seeds[entrant], degrees[index, entrant])]
        normal = generator.multivariate_normal(np.zeros(len(labels)), covariance, DRAWS, method="eigh")
        simulated += normal * np.sqrt(freedom / generator.chisquare(freedom, (DRAWS, 1)))
        scale = np.sqrt(degrees[index] / generator.chisquare(degrees[index], (DRAWS, len(labels))))
        simulated += generator.normal(size=(DRAWS, len(labels))) * np.sqrt(of_seeds) * scale
    chosen = [index for index, label in enumerate(labels) if kinds[label] in RANKED]
    of_pairs = np.sqrt(image_variance + errors_of_seeds[:, None] + errors_of_seeds[None, :])[np.ix_(chosen, chosen)]
    np.fill_diagonal(of_pairs, 0)
    pairs = simulated[:, chosen, None] - simulated[:, None, chosen]
    low, high = ranks(means[chosen][:, None] - means[chosen][None, :], of_pairs, pairs)
    board = pd.read_csv(folder / "over_datasets.csv").set_index("entrant")
    rows = []
    for index in np.argsort(-means):
        label, known = labels[index], board.loc[labels[index]]
        total = sum(part for part, _ in parts[index])
        freedom = total**2 / sum(part**2 / own for part, own in parts[index] if part) if total else 1
        half_width = t.ppf(0.975, freedom) * np.sqrt(total)
        ends = (low[chosen.index(index)], high[chosen.index(index)]) if index in chosen else (np.nan, np.nan)
        shown = (known["psnr"], (known["psnr_high"] - known["psnr_low"]) / 2, known["rank"], known["rank_high"])
        rows.append((label, means[index], half_width, *ends, *shown))
    columns = ["entrant", "mean", "half", "low", "high", "board_mean", "board_half", "board_low", "board_high"]
    return pd.DataFrame(rows, columns=columns)


if __name__ == "__main__":
    names = [name for name in sys.argv[1:] if name != "--smoke"] or [ROOT / "results" / "quick"]
    for name in names:
        print(f"{Path(name).name}\n{compute(Path(name)).round(2).to_string(index=False)}\n")
