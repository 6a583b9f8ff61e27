"""Combination of several results into one, and of the folds of a dataset into one dataset.

Datasets that several results share must have the same images and noise in all of them.

Datasets of a suite that differ only in the parameter ``fold`` hold different test images of one dataset. Every entrant
is trained in each fold, and scored on images that it has not seen. The pooled dataset has the images of all folds, and
as many sources of images as all folds together. Values without an image are means over folds.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError, listing
from gahbench._util.readable import level_name
from gahbench._util.records import key_of
from gahbench.board.tables import SCHEMAS, families, sources_of
from gahbench.contracts.row_labels import row_label, split_label

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results

#: Scores of a reference may differ by this many decibels, through rounding.
TOLERANCE = 1e-3
_SCORE_KEY = ["entrant", "dataset", "seed", "split", "sigma", "metric", "image"]
_KEYS = {"scores": _SCORE_KEY, "datasets": ["dataset"], "metrics": ["metric"], "ratios": ["metric"]}
#: The columns that identify a row of a table, and the column that is a mean over rows with equal identity.
_MEANS = {
    "scores": (["suite", "dataset", "entrant", "kind", "seed", "split", "sigma", "metric", "image"], "value"),
    "fits": (["dataset", "entrant", "seed"], "train_seconds"),
    "costs": (["dataset", "entrant"], "seconds"),
}


def combine(parts: Mapping[str, Results]) -> Results:
    """Combine several results, given by name, into one that holds each entrant once."""
    import pandas as pd

    tables: dict[str, Any] = {
        table: pd.concat([getattr(part, table).assign(part=name) for name, part in parts.items()], ignore_index=True)
        for table in SCHEMAS
    }
    for dataset, facts in tables["datasets"].groupby("dataset", sort=False):
        if differing := [name for name in ("protocol", "fingerprint") if facts[name].nunique() > 1]:
            raise ResultsError(
                f"{dataset}: {' and '.join(facts['part'])} were scored under different noise, or on different images: "
                f"they differ in {listing(differing)}; expected equal parameters of the dataset and an equal noise_seed"
            )
        if len(facts) > 1:
            tables["scores"] = _keep_shared_levels_and_images(tables["scores"], str(dataset), list(facts["part"]))
    renamed = _labels_to_rename(tables["scores"], tables["fits"])

    def label_in(part: str, label: str) -> str:
        return part_label(label, part) if label in renamed else label

    for name, table in tables.items():
        if "entrant" in table:
            table["entrant"] = list(map(label_in, table["part"], table["entrant"]))
        tables[name] = table.drop(columns="part").drop_duplicates(_KEYS.get(name), ignore_index=True)
    first = next(iter(parts.values()))
    suites, versions, baselines = (
        {getattr(part, name) for part in parts.values()} for name in ("suite", "version", "baseline")
    )
    version = first.version if len(suites) == len(versions) == 1 else None
    return replace(
        first,
        # Further rows extend the board of a frozen suite.
        suite=" + ".join(parts) if version is None else first.suite,
        **tables,
        entrants=list(dict.fromkeys(label_in(name, label) for name, part in parts.items() for label in part.entrants)),
        baseline=first.baseline if len(baselines) == 1 and not baselines & renamed else None,
        version=version,
    )


def part_label(label: str, part: str) -> str:
    """Return the label of an entrant with the name of its part; rows of a sweep keep their number."""
    base, number = split_label(label)
    return f"{base} ({part})" if number is None else row_label(f"{base} ({part})", number)


def _keep_shared_levels_and_images(scores: pd.DataFrame, dataset: str, parts: Sequence[str]) -> pd.DataFrame:
    """Drop the noise levels and images of a dataset that any part lacks."""
    psnr = scores[(scores["dataset"] == dataset) & (scores["split"] == "test") & (scores["metric"] == "psnr")]
    levels, images = (
        [{*psnr.loc[psnr["part"] == part, name].dropna()} for part in parts] for name in ("sigma", "image")
    )
    shared_levels, shared_images = set.intersection(*levels), set.intersection(*images)
    if not shared_levels or not shared_images:
        raise ResultsError(f"{dataset}: {listing(parts)} have no noise level, or no image, in common")
    if shared_levels == set.union(*levels) and shared_images == set.union(*images):
        return scores
    level_names = ", ".join(level_name(sigma) for sigma in sorted(shared_levels))
    warnings.warn(
        f"{dataset}: compared at σ = {level_names} on {len(shared_images)} images, "
        f"which {listing(parts)} have in common",
        stacklevel=4,
    )
    # Values without a noise level, such as slopes, depend on the dropped levels, so they are dropped too.
    is_kept = scores["sigma"].isin(shared_levels) & (scores["image"].isna() | scores["image"].isin(shared_images))
    return scores[(scores["dataset"] != dataset) | is_kept]


def _labels_to_rename(scores: pd.DataFrame, fits: pd.DataFrame) -> set[str]:
    """Return the labels of entrants that are in several parts with different scores, or with disjoint seeds."""
    groups = scores.groupby(_SCORE_KEY, dropna=False, sort=False)["value"]
    gaps = (groups.max() - groups.min()).reset_index()
    # Untrained references may differ by rounding, which some metrics magnify, so only their PSNR is compared.
    rounded = gaps["seed"].isna()
    differs = (rounded & (gaps["metric"] == "psnr") & (gaps["value"] > TOLERANCE)) | (~rounded & (gaps["value"] > 0))
    # Networks with disjoint seeds share no score, so the comparison of scores misses them.
    seeds = fits.groupby(["dataset", "entrant", "part"])["seed"].agg(set).groupby(["dataset", "entrant"]).agg(list)
    is_disjoint = [any(not a & b for a, b in itertools.combinations(sets, 2)) for sets in seeds]
    return {*gaps.loc[differs, "entrant"], *seeds[is_disjoint].index.get_level_values("entrant")}


def pooled_names(specs: Mapping[str, str]) -> dict[str, str]:
    """Return the name of the pooled dataset of each fold, given the specs of datasets by their labels.

    The pooled dataset is named by the spec that its folds share.
    """
    names = families(specs, "fold").items()
    return {label: name for name, labels in names if len(labels) > 1 for label in labels}


def pool_folds(results: Results) -> Results:
    """Return results in which the folds of each dataset are one dataset; other datasets are unchanged."""
    pooled = pooled_names({name: row.spec for name, row in results.facts.items()})
    if not pooled:
        return results
    names = ("scores", "fits", "failures", "costs", "notes", "flags", "checks", "citations")
    tables: dict[str, Any] = {name: getattr(results, name).copy() for name in names}
    facts, scores = results.datasets.set_index("dataset", drop=False), tables["scores"]
    for name in dict.fromkeys(pooled.values()):
        folds, sources = [label for label in pooled if pooled[label] == name], list[int]()
        for fold in folds:
            is_fold = scores["dataset"] == fold
            # An image without a known source is a source of its own.
            known = sources_of(results, fold) or range(max(scores.loc[is_fold, "image"].dropna(), default=-1) + 1)
            scores.loc[is_fold, "image"] += len(sources)
            sources += [max(sources, default=-1) + 1 + source for source in known]
        rows = facts.loc[folds]
        merged = {
            "dataset": name,
            "sources": " ".join(map(str, sources)),
            "protocol": key_of(list(rows["protocol"])),
            "fingerprint": " ".join(dict.fromkeys(filter(None, rows["fingerprint"]))),
            "notes": "\n".join(dict.fromkeys(line for text in rows["notes"] for line in text.splitlines())),
            "spec": name,
        }
        facts.loc[folds[0], list(merged)] = list(merged.values())
        facts = facts.drop(index=folds[1:])
    # The oldest checks and the least demanding images count.
    tables["checks"] = tables["checks"].sort_values(["version", "images"])
    for name, table in tables.items():
        column = "entry" if name == "citations" else "dataset"
        table[column] = table[column].replace(pooled)
        table = _mean_over_folds(table, *_MEANS[name]) if name in _MEANS else table
        tables[name] = table.drop_duplicates(["dataset", "entrant"] if name == "checks" else None)
    return replace(results, **tables, datasets=facts)


def _mean_over_folds(table: pd.DataFrame, keys: list[str], column: str) -> pd.DataFrame:
    """Return one row for each combination of keys: its first row, with the mean of a column."""
    # Few rows have equal keys, and a function for each group is slow.
    repeated = table[table.duplicated(keys, keep=False)]
    value = repeated.groupby(keys, dropna=False, sort=False)[column].transform(lambda values: values.mean(skipna=False))
    table.loc[repeated.index, column] = value
    return table.drop_duplicates(keys)
