"""Folds of a dataset as one dataset: their images are pooled, so that a board has one row for each entrant.

Datasets of a suite that differ only in the parameter ``fold`` hold different test images of one dataset. Every entrant
is trained in each fold, and scored on images that it has not seen. The pooled dataset has the images of all folds, and
as many sources of images as all folds together. Values without an image are means over folds.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gahbench._util.records import key_of
from gahbench.board.facts import label_without, sources_of
from gahbench.registry.spec import parse_spec

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results

PARAMETER = "fold"
_WITHOUT_IMAGE = ["suite", "dataset", "entrant", "kind", "seed", "split", "sigma", "metric"]


def pooled_names(specs: Mapping[str, str]) -> dict[str, str]:
    """Return the name of the pooled dataset of each fold, given the specs of datasets by their labels.

    The pooled dataset is named by the spec that its folds share.
    """
    parsed = {label: parse_spec(text) for label, text in specs.items()}
    names = {label: label_without(spec, PARAMETER) for label, spec in parsed.items()}
    have_folds = {names[label] for label, spec in parsed.items() if PARAMETER in spec.keywords}
    counts = Counter(names.values())
    return {label: name for label, name in names.items() if name in have_folds and counts[name] > 1}


def pool_folds(results: Results) -> Results:
    """Return results in which the folds of each dataset are one dataset; other datasets are unchanged."""
    pooled = pooled_names(dict(zip(results.datasets["dataset"], results.datasets["spec"], strict=True)))
    if not pooled:
        return results
    facts, first_image = results.datasets.copy(), dict[str, int]()
    for name in dict.fromkeys(pooled.values()):
        folds = [label for label in pooled if pooled[label] == name]
        sizes = [_image_count(results, label) for label in folds]
        first_image |= dict(zip(folds, itertools.accumulate([0, *sizes[:-1]]), strict=True))
        facts = _pool_facts(facts, name, folds, _pool_sources(results, folds, sizes))
    scores = results.scores.copy()
    scores["image"] += scores["dataset"].map(first_image).fillna(0).astype("Int64")
    tables: dict[str, Any] = {}
    for table_name in ("scores", "fits", "failures", "costs", "notes", "flags", "checks"):
        table = scores if table_name == "scores" else getattr(results, table_name).copy()
        table["dataset"] = [pooled.get(label, label) for label in table["dataset"]]
        tables[table_name] = table
    tables["scores"] = _means(tables["scores"], [*_WITHOUT_IMAGE, "image"], "value")
    tables["fits"] = _means(tables["fits"], ["dataset", "entrant", "seed"], "train_seconds")
    tables["costs"] = _means(tables["costs"], ["dataset", "entrant"], "seconds")
    # The oldest checks and the least demanding images count.
    tables["checks"] = tables["checks"].sort_values(["version", "images"]).drop_duplicates(["dataset", "entrant"])
    for table_name in ("failures", "notes", "flags"):
        tables[table_name] = tables[table_name].drop_duplicates()
    citations = results.citations.copy()
    citations["entry"] = [pooled.get(entry, entry) for entry in citations["entry"]]
    return replace(results, **tables, datasets=facts, citations=citations.drop_duplicates(ignore_index=True))


def _image_count(results: Results, dataset: str) -> int:
    """Return the number of test images of a fold, or a larger number that no index of an image reaches."""
    images = results.scores.loc[results.scores["dataset"] == dataset, "image"].dropna()
    return max(len(sources_of(results, dataset) or ()), 0 if images.empty else int(images.max()) + 1)


def _pool_facts(facts: pd.DataFrame, name: str, folds: Sequence[str], sources: Sequence[int]) -> pd.DataFrame:
    """Return the table of datasets with one row for the folds of a dataset, in the place of the first fold."""
    rows = facts[facts["dataset"].isin(folds)]
    merged = {
        "dataset": name,
        "sources": " ".join(map(str, sources)),
        "protocol": key_of(list(rows["protocol"])),
        "fingerprint": " ".join(dict.fromkeys(filter(None, map(str, rows["fingerprint"])))),
        "notes": "\n".join(dict.fromkeys(line for text in rows["notes"] for line in str(text).splitlines())),
        "spec": name,
    }
    facts.loc[rows.index[0], list(merged)] = list(merged.values())
    return facts.drop(index=rows.index[1:])


def _pool_sources(results: Results, labels: Sequence[str], sizes: Sequence[int]) -> list[int]:
    """Return the source of each image of the folds; empty if each image has its own source."""
    sources_by_fold = [sources_of(results, label) for label in labels]
    pooled: list[int] = []
    for sources, size in zip(sources_by_fold, sizes, strict=True):
        numbers, first = sources or list(range(size)), max(pooled, default=-1) + 1
        numbers += range(max(numbers, default=-1) + 1, max(numbers, default=-1) + 1 + size - len(numbers))
        pooled += [first + number for number in numbers]
    return pooled if any(sources_by_fold) else []


def _means(table: pd.DataFrame, keys: list[str], column: str) -> pd.DataFrame:
    """Return one row for each combination of keys: its first row, with the mean of a column."""
    # Few rows have equal keys, and a function for each group is slow.
    repeated = table[table.duplicated(keys, keep=False)]
    value = repeated.groupby(keys, dropna=False, sort=False)[column].transform(lambda values: values.mean(skipna=False))
    table = table.copy()
    table.loc[repeated.index, column] = value
    return table.drop_duplicates(keys, ignore_index=True)
