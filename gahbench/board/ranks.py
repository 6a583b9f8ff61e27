"""Order and ranks of entrants by their PSNR, and means over datasets.

Only denoisers that could be used in practice have a rank: kinds ``trained`` and ``classical``. Others are sorted by
PSNR, too. Ranks are intervals: the low end is 1 + the number of entrants that are significantly better, and the high
end is the number of entrants minus the number of those that are significantly worse. All pairs are tested
simultaneously: a paired difference is significant if, in units of its spread, it exceeds the 95 % quantile of the
largest such difference among all pairs. So all intervals hold together with a probability of 95 %.

Means over datasets describe the datasets as they are. Datasets of one family may share images or noise by index, so
images of equal index are resampled together in all datasets with the same number of images. Seeds are independent
between datasets. In a dataset with too few sources, images are the units (:attr:`ScoreCube.is_fixed_set`), and a
dataset with too few images leaves no interval.

If the spread over seeds of a trained entrant is unknown on a dataset (:func:`rank_entrants`), intervals describe *these
weights*, and entrants of a training run are not compared with each other, neither on the dataset nor over datasets:
their ranks only count other entrants that are significantly better or worse. A network whose weights come from a file
is a given denoiser without seeds, and is compared as a classical one is. An entrant that is left out on any of the
datasets (:mod:`gahbench.board.cube`) has no rank over datasets.

References
----------
Mogstad, Romano, Shaikh, Wilhelm, *Inference for ranks with applications to mobility across neighbourhoods and academic
achievement across countries*, Review of Economic Studies 91(1), 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from gahbench.board.cube import ScoreCube, spreads_of
from gahbench.board.statistics import LEVEL, Array, SampledMeans, total
from gahbench.board.tables import SUFFIXES

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results

#: Kinds of denoisers that could be used in practice. They have ranks, and cannot be better than the optimum.
PRACTICAL_KINDS = ("trained", "classical")
_ROUNDING_DB = 1e-9  # Smaller differences in dB are rounding.
#: Minimum number of datasets for a mean over datasets.
MIN_DATASETS = 3


def sorted_by_psnr(labels: Sequence[str], psnr: Array) -> list[str]:
    """Sort labels by PSNR, highest first, unknown last; labels with equal PSNR keep the order of the suite."""
    keys = np.where(np.isnan(psnr), np.inf, -psnr)
    return [labels[index] for index in np.argsort(keys, kind="stable")]


def rank_intervals(
    psnr: Array, draws: Array, is_compared: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ends of each entrant's interval of ranks, each of shape (E,); rank 1 is the best.

    ``is_compared``, shape (E, E) and symmetric, says which pairs are compared; by default, all pairs.
    """
    count, deviations = len(psnr), draws - psnr
    is_known = np.isfinite(deviations).all(axis=0)
    first, second = np.nonzero(
        np.triu(np.outer(is_known, is_known) & (True if is_compared is None else is_compared), 1)
    )
    differences = np.abs(deviations[:, first] - deviations[:, second])
    spread = differences.mean(axis=0)
    spread[spread <= _ROUNDING_DB] = 0
    largest = (differences[:, spread > 0] / spread[spread > 0]).max(axis=1, initial=0.0)
    threshold = _ROUNDING_DB + float(np.quantile(largest, LEVEL)) * spread
    better = np.zeros((count, count), dtype=np.bool_)
    better[first, second] = psnr[first] - psnr[second] > threshold
    better[second, first] = psnr[second] - psnr[first] > threshold
    return 1 + better.sum(axis=0), count - better.sum(axis=1)


def rank_entrants(
    cubes: Sequence[ScoreCube], labels: Sequence[str], sample: SampledMeans, kinds: Mapping[str, str]
) -> tuple[dict[str, tuple[int | None, int | None]], str]:
    """Return the ends of the rank of each entrant that has one, and what intervals describe.

    The spread over seeds is known if the seeds of an entrant differ on each dataset, since its variance is used for
    all, or if all have several seeds.
    """
    # The weights of networks from files do not depend on a training seed.
    trained = {label for label in labels if kinds.get(label) == "trained" and cubes[0].seeds[label]}
    are_seeds_known = all(
        spreads_of([cube]) or all(len(cube.seeds[label]) > 1 for label in trained - cube.left_out.keys())
        for cube in cubes
    )
    unranked = {label for cube in cubes for label in cube.left_out}
    draws = sample.draws()
    is_practical = [kinds.get(label) in PRACTICAL_KINDS and label not in unranked for label in labels]
    indices = np.flatnonzero(np.array(is_practical) & np.isfinite(draws).all(axis=0)).tolist()
    ranked = [labels[index] for index in indices]
    is_trained = np.array([label in trained for label in ranked], dtype=np.bool_)
    is_compared = np.full((len(ranked),) * 2, are_seeds_known) | ~np.outer(is_trained, is_trained)
    low, high = rank_intervals(sample.values[indices], draws[:, indices], is_compared)
    scope = "images" if not trained else "seeds" if are_seeds_known else "weights"
    ends = dict(zip(ranked, zip(low.tolist(), high.tolist(), strict=True), strict=True))
    return ends, "" if np.isnan(draws).any() else scope


def over_datasets(results: Results) -> pd.DataFrame:
    """Return means over datasets of the selected entrants; ranks and intervals are those of the complete results."""
    import pandas as pd

    complete, shown = results.complete, set(results.datasets["dataset"])
    scored = [part for part in complete.board.datasets if part.dataset in shown and part.is_known("psnr")]
    kinds = {entry.entrant: entry.kind for part in scored for entry in part.entries if entry.kind}
    labels = [label for label in kinds if all(part.estimate(label, "psnr").is_known for part in scored)]
    values = [f"{name}{end}" for name in ("psnr", "gain_over_baseline") for end in SUFFIXES]
    table = pd.DataFrame(columns=["rank", "rank_high", "entrant", "kind", *values, "interval_scope"])
    if len(scored) >= MIN_DATASETS and labels:
        all_cubes, parts = complete.psnr_cubes, []
        cubes = {part.dataset: all_cubes[part.dataset] for part in scored}
        for name, cube in cubes.items():
            sample = cube.sampled(crc32(name.encode())).apply(lambda array: array.mean(axis=-1) / len(cubes))
            parts.append(sample.at([cube.entrants.index(label) for label in labels]))
        mean, baseline = total(parts), complete.baseline
        table["entrant"], table["kind"] = labels, [kinds[label] for label in labels]
        table[values[:3]] = np.stack([mean.values, *mean.ends()], axis=1)
        if baseline in labels:
            gains = mean.apply(lambda array: array - array[..., [labels.index(baseline)]])
            table[values[3:]] = np.stack([gains.values, *gains.ends()], axis=1)
        ranks, scope = rank_entrants(list(cubes.values()), labels, mean, kinds)
        table["interval_scope"] = scope
        if scope:
            table[["rank", "rank_high"]] = [ranks.get(label, (None, None)) for label in labels]
    order = sorted_by_psnr(labels, table["psnr"].to_numpy(float)) if len(table) else []
    table = table.set_index("entrant", drop=False).loc[[label for label in order if label in results.entrants]]
    dtypes = dict.fromkeys(("rank", "rank_high"), "Int64") | dict.fromkeys(values, "float64")
    return table.reset_index(drop=True).astype(dtypes)
