"""Combination of several results into one; shared datasets must have the same images and noise in all parts."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError, listing
from gahbench._util.readable import level_name
from gahbench.board.tables import SCHEMAS, psnr_rows
from gahbench.contracts.row_labels import row_label, split_label
from gahbench.planning.suite_files import SuiteVersion

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results

#: Facts of a dataset that must be equal in all parts.
_CHECKED_FACTS = ("optimum", "channels", "height", "width", "fingerprint")
#: Scores of a reference may differ by this many decibels, through rounding.
TOLERANCE = 1e-3
_SCORE_KEY = ["entrant", "dataset", "seed", "split", "sigma", "metric", "image"]
_KEYS = {"scores": _SCORE_KEY, "datasets": ["dataset"], "metrics": ["metric"], "ratios": ["metric"]}
#: Columns that are equal in equal datasets under equal noise.
_PROTOCOL_COLUMNS = ["protocol", "fingerprint", "channels", "height", "width"]


def combine(parts: Mapping[str, Results]) -> Results:
    """Combine several results, given by name, into one that holds each entrant once."""
    import pandas as pd

    version = _shared_version(parts)
    parts = match_datasets(parts)
    tables: dict[str, Any] = {
        table: pd.concat({name: getattr(part, table) for name, part in parts.items()}, names=["part"])
        .reset_index("part")
        .reset_index(drop=True)
        for table in SCHEMAS
    }
    for dataset, rows in tables["datasets"].groupby("dataset", sort=False):
        if len(rows) > 1:
            _check_facts(rows)
            tables["scores"] = _keep_shared_levels_and_images(tables["scores"], str(dataset), list(rows["part"]))
    renamed = _labels_to_rename(tables["scores"], tables["fits"])

    def label_in(part: str, label: str) -> str:
        return part_label(label, part) if label in renamed else label

    for name, table in tables.items():
        if "entrant" in table:
            table["entrant"] = list(map(label_in, table["part"], table["entrant"]))
        tables[name] = table.drop(columns="part").drop_duplicates(_KEYS.get(name), ignore_index=True)
    baselines, suites = ({getattr(part, name) for part in parts.values()} for name in ("baseline", "suite"))
    first_part = next(iter(parts.values()))
    return replace(
        first_part,
        # Further rows extend the board of a frozen suite.
        suite=first_part.suite if version is not None and len(suites) == 1 else " + ".join(parts),
        **tables,
        entrants=list(dict.fromkeys(label_in(name, label) for name, part in parts.items() for label in part.entrants)),
        baseline=first_part.baseline if len(baselines) == 1 and not baselines & renamed else None,
        version=version,
    )


def _shared_version(parts: Mapping[str, Results]) -> SuiteVersion | None:
    """Return the version that all parts follow, or ``None``; raise if parts follow different versions of one suite."""
    first_parts: dict[str, str] = {}
    for name, part in parts.items():
        if part.version is not None:
            first = first_parts.setdefault(part.suite, name)
            if parts[first].version != part.version:
                raise ResultsError(
                    f"{first} follows {part.suite} {parts[first].version}, and {name} follows {part.version}; expected "
                    "results of one version of a frozen suite"
                )
    versions = {part.version for part in parts.values()}
    return versions.pop() if len(versions) == 1 else None


def part_label(label: str, part: str) -> str:
    """Return the label of an entrant with the name of its part; rows of a sweep keep their number."""
    base, number = split_label(label)
    return f"{base} ({part})" if number is None else row_label(f"{base} ({part})", number)


def _check_facts(rows: pd.DataFrame) -> None:
    """Raise if two parts, with a row for each, differ in images or noise."""
    first, *others = rows.to_dict("records")
    for other in others:
        names = f"{first['dataset']}: {first['part']} and {other['part']}"
        if differing := [fact for fact in _CHECKED_FACTS if first[fact] != other[fact]]:
            raise ResultsError(
                f"{names} differ in {listing(differing)}; expected equal images in all results of a dataset"
            )
        if first["protocol"] != other["protocol"]:
            raise ResultsError(
                f"{names} were scored under different noise, or on different images; expected equal parameters of the "
                "dataset and an equal noise_seed"
            )


def _keep_shared_levels_and_images(scores: pd.DataFrame, dataset: str, parts: Sequence[str]) -> pd.DataFrame:
    """Drop the noise levels and images of a dataset that any part lacks."""
    psnr = psnr_rows(scores, dataset)
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
    seeds: dict[Any, list[set[int]]] = {}
    for (dataset, entrant, _), rows in fits.groupby(["dataset", "entrant", "part"]):
        seeds.setdefault((dataset, entrant), []).append(set(rows["seed"]))
    return set(gaps.loc[differs, "entrant"]) | {
        entrant
        for (_, entrant), sets in seeds.items()
        if any(not first & second for first, second in itertools.combinations(sets, 2))
    }


def match_datasets(parts: Mapping[str, Results]) -> dict[str, Results]:
    """Return results in which each dataset has the label that it has in the first part that holds it."""
    first_labels: dict[tuple[object, ...], str] = {}
    matched = {}
    for name, part in parts.items():
        rows = part.datasets[["dataset", *_PROTOCOL_COLUMNS]].itertuples(index=False, name=None)
        keys = {label: tuple(key) for label, *key in rows if key[0]}
        counts = Counter(keys.values())
        labels = {label: first_labels.get(key, label) for label, key in keys.items() if counts[key] == 1}
        new_counts = Counter(labels.get(label, label) for label in part.datasets["dataset"])
        matched[name] = relabel(part, {old: new for old, new in labels.items() if old != new and new_counts[new] == 1})
        for label, key in keys.items():
            first_labels.setdefault(key, label)
    return matched


def relabel(results: Results, labels: Mapping[str, str]) -> Results:
    """Return results with new labels of datasets, given by old label."""
    if not labels:
        return results
    tables: dict[str, Any] = {name: getattr(results, name).copy() for name in SCHEMAS}
    for table in tables.values():
        for column in {"dataset", "entry"} & set(table.columns):
            table[column] = [labels.get(label, label) for label in table[column]]
    return replace(results, **tables)
