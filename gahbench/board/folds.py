"""Folds of a dataset as one dataset: their images are pooled, so that a board has one row for each entrant.

Datasets of a suite that differ only in the parameter ``fold`` hold different test images of one dataset. Every entrant
is trained in each fold, and scored on images that it has not seen. The pooled dataset has the images of all folds, and
as many sources of images as all folds together. Values without an image are means over folds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from gahbench._util.records import key_of
from gahbench.board.facts import label_without, sources_of
from gahbench.registry.spec import parse_spec

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.tables import Tables

_Results = TypeVar("_Results", bound="Tables")
PARAMETER = "fold"
_WITHOUT_IMAGE = ["suite", "dataset", "entrant", "kind", "seed", "split", "sigma", "metric"]


def pooled_names(specs: Mapping[str, str]) -> dict[str, str]:
    """Return the name of the pooled dataset of each fold, given the specs of datasets by their labels.

    The pooled dataset is named by the spec that its folds share.
    """
    groups: dict[str, list[str]] = {}
    have_folds = set()
    for label, text in specs.items():
        spec = parse_spec(text)
        name = label_without(spec, PARAMETER)
        groups.setdefault(name, []).append(label)
        if PARAMETER in spec.keywords:
            have_folds.add(name)
    return {
        label: name for name, labels in groups.items() if name in have_folds and len(labels) > 1 for label in labels
    }


def pool_folds(results: _Results) -> _Results:
    """Return results in which the folds of each dataset are one dataset; other datasets are unchanged."""
    pooled = pooled_names(dict(zip(results.datasets["dataset"], results.datasets["spec"], strict=True)))
    if not pooled:
        return results
    folds = {name: [label for label in pooled if pooled[label] == name] for name in dict.fromkeys(pooled.values())}
    sizes = {label: _image_count(results, label) for label in pooled}
    first_image = {
        label: sum(sizes[earlier] for earlier in folds[name][: folds[name].index(label)])
        for label, name in pooled.items()
    }
    scores = results.scores.copy()
    scores["image"] += scores["dataset"].map(first_image).fillna(0).astype("Int64")
    tables: dict[str, Any] = {"scores": scores, "datasets": _pool_facts(results, folds, sizes)}
    for name in ("scores", "fits", "failures", "costs", "notes", "flags", "checks"):
        table = tables.get(name, getattr(results, name)).copy()
        table["dataset"] = [pooled.get(label, label) for label in table["dataset"]]
        tables[name] = table
    tables["scores"] = _means(tables["scores"], [*_WITHOUT_IMAGE, "image"], "value")
    tables["fits"] = _means(tables["fits"], ["dataset", "entrant", "seed"], "train_seconds")
    tables["costs"] = _means(tables["costs"], ["dataset", "entrant"], "seconds")
    # The oldest checks and the least demanding images count.
    tables["checks"] = tables["checks"].sort_values(["version", "images"]).drop_duplicates(["dataset", "entrant"])
    for name in ("failures", "notes", "flags"):
        tables[name] = tables[name].drop_duplicates()
    citations = results.citations.copy()
    citations["entry"] = [pooled.get(entry, entry) for entry in citations["entry"]]
    return replace(results, **tables, citations=citations.drop_duplicates(ignore_index=True))


def _image_count(results: Tables, dataset: str) -> int:
    """Return the number of test images of a fold, or a larger number that no index of an image reaches."""
    sources = sources_of(results, dataset) or ()
    images = results.scores.loc[results.scores["dataset"] == dataset, "image"].dropna()
    return max(len(sources), 0 if images.empty else int(images.max()) + 1)


def _pool_facts(results: Tables, folds: dict[str, list[str]], sizes: dict[str, int]) -> pd.DataFrame:
    """Return the table of datasets with one row for the folds of a dataset, in the place of the first fold."""
    facts = results.datasets.copy()
    for name, labels in folds.items():
        rows = facts[facts["dataset"].isin(labels)]
        notes = dict.fromkeys(line for text in rows["notes"] for line in str(text).splitlines())
        merged = {
            "dataset": name,
            "sources": " ".join(map(str, _pool_sources(results, labels, sizes))),
            "protocol": key_of(list(rows["protocol"])),
            "fingerprint": " ".join(dict.fromkeys(filter(None, map(str, rows["fingerprint"])))),
            "notes": "\n".join(notes),
            "spec": name,
        }
        facts.loc[rows.index[0], list(merged)] = list(merged.values())
        facts = facts.drop(index=rows.index[1:])
    return facts


def _pool_sources(results: Tables, labels: Sequence[str], sizes: dict[str, int]) -> list[int]:
    """Return the source of each image of the folds; empty if each image has its own source."""
    sources_by_fold = [sources_of(results, label) for label in labels]
    if not any(sources_by_fold):
        return []
    pooled: list[int] = []
    for label, sources in zip(labels, sources_by_fold, strict=True):
        numbers = sources or list(range(sizes[label]))
        numbers += range(max(numbers, default=-1) + 1, max(numbers, default=-1) + 1 + sizes[label] - len(numbers))
        first = max(pooled, default=-1) + 1
        pooled += [first + number for number in numbers]
    return pooled


def _means(table: pd.DataFrame, keys: list[str], column: str) -> pd.DataFrame:
    """Return one row for each combination of keys: its first row, with the mean of a column."""
    # Few rows have equal keys, and a function for each group is slow.
    repeated = table[table.duplicated(keys, keep=False)]
    value = repeated.groupby(keys, dropna=False, sort=False)[column].transform(lambda values: values.mean(skipna=False))
    table = table.copy()
    table.loc[repeated.index, column] = value
    return table.drop_duplicates(keys, ignore_index=True)
