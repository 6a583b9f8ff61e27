"""Combination of several results into one; shared datasets must have the same images and noise in all parts."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from gahbench._util.errors import ResultsError, listing
from gahbench._util.readable import level_name
from gahbench.board.tables import SCHEMAS, Tables, psnr_rows
from gahbench.contracts.row_labels import row_label, split_label
from gahbench.planning.suite_files import SuiteVersion

if TYPE_CHECKING:
    import pandas as pd

_Results = TypeVar("_Results", bound=Tables)
#: Facts of a dataset that must be equal in all parts.
_CHECKED_FACTS = ("optimum", "channels", "height", "width", "fingerprint")
#: Scores of a reference may differ by this many decibels, through rounding.
TOLERANCE = 1e-3
_SCORE_KEY = ["dataset", "seed", "split", "sigma", "metric", "image"]
#: Columns that are equal in equal datasets under equal noise.
_PROTOCOL_COLUMNS = ["protocol", "fingerprint", "channels", "height", "width"]


def combine(parts: Mapping[str, _Results]) -> _Results:
    """Combine several results, given by name, into one that holds each entrant once."""
    import pandas as pd

    version = _shared_version(parts)
    labels = labels_of_earlier_parts(parts)
    parts = {name: relabel(part, labels[name]) for name, part in parts.items()}
    tables = {name: {table: getattr(part, table).copy() for table in SCHEMAS} for name, part in parts.items()}
    for dataset, names in _shared_datasets(tables).items():
        _check_facts(dataset, {name: tables[name]["datasets"] for name in names})
        _keep_shared_levels_and_images(dataset, {name: tables[name] for name in names})
    renamed = _labels_to_rename(tables)

    def label_in(part: str, label: str) -> str:
        return part_label(label, part) if label in renamed else label

    for name, part_tables in tables.items():
        for table in part_tables.values():
            if "entrant" in table:
                table["entrant"] = [label_in(name, label) for label in table["entrant"]]
    joined = {
        table: pd.concat([part_tables[table] for part_tables in tables.values()], ignore_index=True)
        for table in SCHEMAS
    }
    keys = {"scores": ["entrant", *_SCORE_KEY], "datasets": ["dataset"], "metrics": ["metric"], "ratios": ["metric"]}
    joined = {name: table.drop_duplicates(keys.get(name), ignore_index=True) for name, table in joined.items()}
    entrants = list(dict.fromkeys(label_in(name, label) for name, part in parts.items() for label in part.entrants))
    baselines = {part.baseline for part in parts.values()}
    baseline = baselines.pop() if len(baselines) == 1 and not baselines & renamed else None
    first_part = next(iter(parts.values()))
    return replace(
        first_part,
        # Further rows extend the board of a frozen suite.
        suite=first_part.suite
        if version is not None and len({part.suite for part in parts.values()}) == 1
        else " + ".join(parts),
        **joined,
        entrants=entrants,
        baseline=baseline,
        version=version,
        selected_from=None,
    )


def _shared_version(parts: Mapping[str, Tables]) -> SuiteVersion | None:
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


def _shared_datasets(tables: Mapping[str, Mapping[str, pd.DataFrame]]) -> dict[str, list[str]]:
    """Return the datasets that are in several parts, with the names of these parts."""
    parts_by_dataset: dict[str, list[str]] = {}
    for name, part_tables in tables.items():
        for dataset in part_tables["datasets"]["dataset"]:
            parts_by_dataset.setdefault(str(dataset), []).append(name)
    return {dataset: names for dataset, names in parts_by_dataset.items() if len(names) > 1}


def _check_facts(dataset: str, tables: Mapping[str, pd.DataFrame]) -> None:
    """Raise if two parts differ in images or noise."""
    rows = {name: table[table["dataset"] == dataset].iloc[0] for name, table in tables.items()}
    for first, second in itertools.combinations(rows, 2):
        if differing := [fact for fact in _CHECKED_FACTS if rows[first][fact] != rows[second][fact]]:
            raise ResultsError(
                f"{dataset}: {first} and {second} differ in {listing(differing)}; expected equal images in all "
                "results of a dataset"
            )
        if rows[first]["protocol"] != rows[second]["protocol"]:
            raise ResultsError(
                f"{dataset}: {first} and {second} were scored under different noise, or on different images; expected "
                "equal parameters of the dataset and an equal noise_seed"
            )


def _keep_shared_levels_and_images(dataset: str, parts: Mapping[str, dict[str, pd.DataFrame]]) -> None:
    """Drop the noise levels and images of a dataset that any part lacks."""
    levels, images = [], []
    for part_tables in parts.values():
        rows = psnr_rows(part_tables["scores"], dataset)
        levels.append(set(rows["sigma"].dropna()))
        images.append(set(rows["image"].dropna()))
    shared_levels, shared_images = set.intersection(*levels), set.intersection(*images)
    if not shared_levels or not shared_images:
        raise ResultsError(f"{dataset}: {listing(parts)} have no noise level, or no image, in common")
    if all(values == shared_levels for values in levels) and all(values == shared_images for values in images):
        return
    level_names = ", ".join(level_name(sigma) for sigma in sorted(shared_levels))
    warnings.warn(
        f"{dataset}: compared at σ = {level_names} on {len(shared_images)} images, "
        f"which {listing(parts)} have in common",
        stacklevel=4,
    )
    for part_tables in parts.values():
        rows = part_tables["scores"]
        # Values without a noise level, such as slopes, depend on the dropped levels, so they are dropped too.
        kept = rows["sigma"].isin(shared_levels) & (rows["image"].isna() | rows["image"].isin(shared_images))
        part_tables["scores"] = rows[(rows["dataset"] != dataset) | kept]


def _labels_to_rename(tables: Mapping[str, Mapping[str, pd.DataFrame]]) -> set[str]:
    """Return the labels of entrants that are in several parts with different scores, or with disjoint seeds."""
    renamed: set[str] = set()
    for first, second in itertools.combinations(tables.values(), 2):
        pairs = first["scores"].merge(second["scores"], on=["entrant", *_SCORE_KEY], suffixes=("_one", "_other"))
        gaps = (pairs["value_one"] - pairs["value_other"]).abs()
        # Untrained references may differ by rounding, which some metrics magnify, so only their PSNR is compared.
        rounded = pairs["seed"].isna()
        differs = (rounded & (pairs["metric"] == "psnr") & (gaps > TOLERANCE)) | (~rounded & (gaps > 0))
        renamed |= set(pairs.loc[differs, "entrant"])
        # Networks with disjoint seeds share no score, so the comparison of scores misses them.
        seeds: list[dict[Any, Any]] = [
            part["fits"].groupby(["dataset", "entrant"])["seed"].agg(set).to_dict() for part in (first, second)
        ]
        renamed |= {pair[1] for pair in seeds[0].keys() & seeds[1].keys() if not seeds[0][pair] & seeds[1][pair]}
    return renamed


def labels_of_earlier_parts(parts: Mapping[str, Tables]) -> dict[str, dict[str, str]]:
    """Return, for each part, new labels of datasets that an earlier part has under another label."""
    first_labels: dict[tuple[object, ...], str] = {}
    labels: dict[str, dict[str, str]] = {}
    for name, part in parts.items():
        rows = part.datasets[["dataset", *_PROTOCOL_COLUMNS]].itertuples(index=False, name=None)
        keys = {label: tuple(key) for label, *key in rows if key[0]}
        counts = Counter(keys.values())
        new_labels = {
            label: first_labels[key]
            for label, key in keys.items()
            if counts[key] == 1 and first_labels.get(key, label) != label
        }
        new_counts = Counter(new_labels.get(label, label) for label in part.datasets["dataset"])
        labels[name] = {label: new_label for label, new_label in new_labels.items() if new_counts[new_label] == 1}
        for label, key in keys.items():
            first_labels.setdefault(key, label)
    return labels


def relabel(results: _Results, labels: Mapping[str, str]) -> _Results:
    """Return results with new labels of datasets, given by old label."""
    if not labels:
        return results
    tables = {name: getattr(results, name).copy() for name in SCHEMAS}
    for table in tables.values():
        for column in {"dataset", "entry"} & set(table.columns):
            table[column] = [labels.get(label, label) for label in table[column]]
    return replace(results, **tables, selected_from=None)
