"""Several results as one, where they are of the same images and noise."""

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

if TYPE_CHECKING:
    import pandas as pd

_Results = TypeVar("_Results", bound=Tables)
#: Facts of a dataset that must be equal.
_FACTS = ("optimum", "channels", "height", "width", "fingerprint")
#: Decibels by which scores of one reference may differ by rounding.
TOLERANCE = 1e-3
_PLACE = ["dataset", "seed", "split", "sigma", "metric", "image"]
#: Columns that are equal in equal datasets under equal noise.
_SAME = ["protocol", "fingerprint", "channels", "height", "width"]


def combined(parts: Mapping[str, _Results]) -> _Results:
    """Return several results as one, each entrant once."""
    import pandas as pd

    shown = labels_of_first(parts)
    parts = {name: relabelled(one, shown[name]) for name, one in parts.items()}
    tables = {name: {table: getattr(one, table).copy() for table in SCHEMAS} for name, one in parts.items()}
    for dataset, names in _shared(tables).items():
        known = _check_facts(dataset, {name: tables[name]["datasets"] for name in names})
        _cut(dataset, {name: tables[name] for name in names})
        if not known:
            _check_same(dataset, {name: tables[name] for name in names})
    renamed = _renamed(tables)

    def label_in(part: str, label: str) -> str:
        return part_label(label, part) if label in renamed else label

    for name, own in tables.items():
        for table in own.values():
            if "entrant" in table:
                table["entrant"] = [label_in(name, label) for label in table["entrant"]]
    joined = {table: pd.concat([own[table] for own in tables.values()], ignore_index=True) for table in SCHEMAS}
    keys = {"scores": ["entrant", *_PLACE], "datasets": ["dataset"], "metrics": ["metric"], "ratios": ["metric"]}
    joined = {name: table.drop_duplicates(keys.get(name), ignore_index=True) for name, table in joined.items()}
    entrants = list(dict.fromkeys(label_in(name, label) for name, one in parts.items() for label in one.entrants))
    baselines = {one.baseline for one in parts.values()}
    baseline = baselines.pop() if len(baselines) == 1 and not baselines & renamed else None
    first = next(iter(parts.values()))
    return replace(first, suite=" + ".join(parts), **joined, entrants=entrants, baseline=baseline, whole=None)


def part_label(label: str, part: str) -> str:
    """Return the label of an entrant of a part; rows of a sweep stay such rows."""
    base, number = split_label(label)
    return f"{base} ({part})" if number is None else row_label(f"{base} ({part})", number)


def _shared(tables: Mapping[str, Mapping[str, pd.DataFrame]]) -> dict[str, list[str]]:
    """Return the datasets that are in several parts, and in which."""
    found: dict[str, list[str]] = {}
    for name, own in tables.items():
        for dataset in own["datasets"]["dataset"]:
            found.setdefault(str(dataset), []).append(name)
    return {dataset: names for dataset, names in found.items() if len(names) > 1}


def _check_facts(dataset: str, tables: Mapping[str, pd.DataFrame]) -> bool:
    """Refuse parts with other images or noise; return whether all are known to have the same."""
    rows = {name: table[table["dataset"] == dataset].iloc[0] for name, table in tables.items()}
    for one, other in itertools.combinations(rows, 2):
        if differing := [fact for fact in _FACTS if rows[one][fact] != rows[other][fact]]:
            raise ResultsError(
                f"{dataset}: {one} and {other} differ in {listing(differing)}; results of one dataset are expected to "
                "be of the same images"
            )
        keys = [rows[name]["protocol"] for name in (one, other)]
        if all(keys) and keys[0] != keys[1]:
            raise ResultsError(
                f"{dataset}: {one} and {other} were scored under other noise, or on other images; expected are equal "
                "parameters of the dataset and an equal noise_seed"
            )
        if not all(keys):
            warnings.warn(
                f"{dataset}: the noise of {one if not keys[0] else other} is not on record; taken to be the same, as "
                "far as the scores of references show it",
                stacklevel=4,
            )
    return all(row["protocol"] for row in rows.values())


def _cut(dataset: str, parts: Mapping[str, dict[str, pd.DataFrame]]) -> None:
    """Leave out the noise levels and images of a dataset that are not in all parts."""
    levels, images = [], []
    for own in parts.values():
        rows = psnr_rows(own["scores"], dataset)
        levels.append(set(rows["sigma"].dropna()))
        images.append(set(rows["image"].dropna()))
    common, places = set.intersection(*levels), set.intersection(*images)
    if not common or not places:
        raise ResultsError(f"{dataset}: {listing(parts)} have no noise level, or no image, in common")
    if all(one == common for one in levels) and all(one == places for one in images):
        return
    shown = ", ".join(level_name(sigma) for sigma in sorted(common))
    warnings.warn(
        f"{dataset}: compared at σ = {shown} on {len(places)} images, which {listing(parts)} have in common",
        stacklevel=4,
    )
    for own in parts.values():
        rows = own["scores"]
        # Values without a noise level, such as slopes, depend on levels that are left out.
        kept = rows["sigma"].isin(common) & (rows["image"].isna() | rows["image"].isin(places))
        own["scores"] = rows[(rows["dataset"] != dataset) | kept]


def _check_same(dataset: str, parts: Mapping[str, Mapping[str, pd.DataFrame]]) -> None:
    """Refuse parts in which a reference that is not trained scores otherwise."""
    rows = {}
    for name, own in parts.items():
        scores = psnr_rows(own["scores"], dataset)
        scores = scores[scores["seed"].isna() & scores["image"].notna()]
        rows[name] = scores.set_index(["entrant", "sigma", "image"])["value"]
    for one, other in itertools.combinations(rows, 2):
        both = rows[one].to_frame("one").join(rows[other].rename("other"), how="inner")
        gaps = (both["one"] - both["other"]).abs().to_numpy()
        if len(gaps) and gaps.max() > TOLERANCE:
            row = both.reset_index().iloc[int(gaps.argmax())]
            raise ResultsError(
                f"{dataset}: '{row['entrant']}' has {row['one']:.3f} dB in {one} and {row['other']:.3f} dB in {other} "
                f"(image {row['image']}, σ = {level_name(row['sigma'])}): not the same images and noise, or another "
                "version of this reference"
            )


def _renamed(tables: Mapping[str, Mapping[str, pd.DataFrame]]) -> set[str]:
    """Return the labels of entrants that are in several parts and do not score alike where both have scores."""
    found: set[str] = set()
    for one, other in itertools.combinations(tables.values(), 2):
        both = one["scores"].merge(other["scores"], on=["entrant", *_PLACE], suffixes=("_one", "_other"))
        gaps = (both["value_one"] - both["value_other"]).abs()
        # References that are not trained may differ by rounding, which counts may magnify: their errors decide.
        rounded = both["seed"].isna()
        differs = (rounded & (both["metric"] == "psnr") & (gaps > TOLERANCE)) | (~rounded & (gaps > 0))
        found |= set(both.loc[differs, "entrant"])
        # Networks of disjoint seeds have no score in common.
        seeds: list[dict[Any, Any]] = [
            part["fits"].groupby(["dataset", "entrant"])["seed"].agg(set).to_dict() for part in (one, other)
        ]
        found |= {pair[1] for pair in seeds[0].keys() & seeds[1].keys() if not seeds[0][pair] & seeds[1][pair]}
    return found


def labels_of_first(parts: Mapping[str, Tables]) -> dict[str, dict[str, str]]:
    """Return the labels of datasets to be shown, by the labels that each part has, where the two differ."""
    first: dict[tuple[object, ...], str] = {}
    found: dict[str, dict[str, str]] = {}
    for name, one in parts.items():
        rows = one.datasets[["dataset", *_SAME]].itertuples(index=False, name=None)
        own = {label: tuple(same) for label, *same in rows if same[0]}
        often = Counter(own.values())
        changed = {
            label: first[same] for label, same in own.items() if often[same] == 1 and first.get(same, label) != label
        }
        after = Counter(changed.get(label, label) for label in one.datasets["dataset"])
        found[name] = {label: new for label, new in changed.items() if after[new] == 1}
        for label, same in own.items():
            first.setdefault(same, label)
    return found


def relabelled(results: _Results, labels: Mapping[str, str]) -> _Results:
    """Return results whose datasets have other labels."""
    if not labels:
        return results
    tables = {name: getattr(results, name).copy() for name in SCHEMAS}
    for table in tables.values():
        for column in {"dataset", "entry"} & set(table.columns):
            table[column] = [labels.get(label, label) for label in table[column]]
    return replace(results, **tables, whole=None)
