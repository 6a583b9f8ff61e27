"""Means over the datasets of a board, and ranks, computed from the stored scores without gahbench.

For each entrant that is scored on all datasets: the mean PSNR over datasets, its standard error, and the interval of
its rank. The variance over n images, or sources of images, is s^2 / n, where s^2 is the variance of the mean over
datasets with n images, since these may share images or noise by index. The variance over seeds is K^-2 times the sum
over K datasets of s_seed^2 / R over R seeds. For a network s_seed^2 is the larger of the pooled variance and its own:
the variance of the other networks times the ratio of both, averaged over datasets, over the mean of F. Half widths
and the largest difference in standard errors of all pairs are simulated: sums of t variables, one for each number of
images, and one for the seeds of each network and dataset.

The last columns are those of the board (``over_datasets.csv``), which resamples images instead. The ends of both
intervals may differ by 1 where a difference is close to its threshold.
"""

import json

import numpy as np
import pandas as pd
from scipy.stats import chi2

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
    dof = np.array([[tables[label].shape[1] - 1 for label in labels] for _, tables, _, _ in datasets], dtype=float)
    is_trained = dof[0] > 0
    if not is_trained.any():
        return own, np.ones_like(own)
    own, dof = own[:, is_trained], dof[:, is_trained]
    squares, total = own * dof, dof.sum(axis=1, keepdims=True)
    pooled = squares.sum(axis=1, keepdims=True) / total
    others = total - dof
    # The mean of F is infinite for two degrees of freedom or fewer; then the ratio is to all networks.
    has_mean = others > 2
    reference = np.where(has_mean, (pooled * total - squares) / np.maximum(others, 1), pooled)
    others, expected = np.where(has_mean, others, total), np.where(has_mean, others / np.maximum(others - 2, 0.1), 1.0)
    ratio = (own / reference / expected).mean(axis=0)
    sum_of_dof = dof.sum(axis=0)
    own_degrees = 1 / (1 / sum_of_dof + (1 - 1 / len(own)) / others)
    # The excess over the others is that of the median of the ratio.
    excess = 1 - 1 / np.maximum(ratio * own_degrees / chi2.median(own_degrees), 1)
    variance, degrees = np.zeros((len(own), len(labels))), np.ones((len(own), len(labels)))
    variance[:, is_trained] = np.maximum(ratio * reference, pooled)
    degrees[:, is_trained] = 1 / (excess / own_degrees + (1 - excess) / others)
    return variance, degrees


def ranks(differences, errors, simulated):
    """Return the ends of the intervals of ranks from differences (E, E), standard errors and simulated differences."""
    scaled = np.abs(simulated) / np.where(errors > 0, errors, np.inf)
    threshold = np.quantile(scaled.max(axis=(1, 2)), 0.95)
    better = differences > np.maximum(threshold * errors, 1e-9)
    return 1 + better.sum(axis=0), len(differences) - better.sum(axis=1)


def compute(folder):
    """Return means, half widths and ranks of the entrants of a results folder, and the same columns of its board."""
    datasets = list(arrays(folder))
    kinds = {label: kind for _, _, _, own in datasets for label, kind in own.items()}
    labels = [label for label in kinds if all(label in tables for _, tables, _, _ in datasets)]
    count, generator = len(datasets), np.random.default_rng(0)
    variance, degrees = seed_variances(datasets, labels)
    means, total_seed_variance = np.zeros(len(labels)), np.zeros(len(labels))
    image_variance = np.zeros((len(labels), len(labels)))
    simulated = np.zeros((DRAWS, len(labels)))
    units_by_number = {}
    for index, (_, tables, sources, _) in enumerate(datasets):
        units = np.array([unit_means(tables[label], sources) for label in labels]) / count
        units_by_number[units.shape[1]] = units_by_number.get(units.shape[1], 0) + units
        seeds = np.array([tables[label].shape[1] for label in labels])
        means += np.array([tables[label].mean() for label in labels]) / count
        seed_variance = variance[index] / seeds / count**2
        total_seed_variance += seed_variance
        scale = np.sqrt(degrees[index] / generator.chisquare(degrees[index], (DRAWS, len(labels))))
        simulated += generator.normal(size=(DRAWS, len(labels))) * np.sqrt(seed_variance) * scale
    for number, units in units_by_number.items():
        covariance = np.cov(units) / number
        diagonal, dof = np.diag(covariance), number - 1
        image_variance += diagonal[:, None] + diagonal[None, :] - 2 * covariance
        normal = generator.multivariate_normal(np.zeros(len(labels)), covariance, DRAWS, method="eigh")
        simulated += normal * np.sqrt(dof / generator.chisquare(dof, (DRAWS, 1)))
    chosen = [index for index, label in enumerate(labels) if kinds[label] in RANKED]
    pair_variance = image_variance + total_seed_variance[:, None] + total_seed_variance[None, :]
    pair_errors = np.sqrt(pair_variance)[np.ix_(chosen, chosen)]
    np.fill_diagonal(pair_errors, 0)
    pairs = simulated[:, chosen, None] - simulated[:, None, chosen]
    low, high = ranks(means[chosen][:, None] - means[chosen][None, :], pair_errors, pairs)
    board = pd.read_csv(folder / "over_datasets.csv").set_index("entrant")
    rows = []
    for index in np.argsort(-means):
        label, known = labels[index], board.loc[labels[index]]
        half_width = np.quantile(np.abs(simulated[:, index]), 0.95)
        ends = (low[chosen.index(index)], high[chosen.index(index)]) if index in chosen else (np.nan, np.nan)
        shown = (known["psnr"], (known["psnr_high"] - known["psnr_low"]) / 2, known["rank"], known["rank_high"])
        rows.append((label, means[index], half_width, *ends, *shown))
    columns = ["entrant", "mean", "half", "low", "high", "board_mean", "board_half", "board_low", "board_high"]
    return pd.DataFrame(rows, columns=columns)
