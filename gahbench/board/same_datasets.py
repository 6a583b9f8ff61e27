"""Datasets of several results that are the same under different labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from gahbench.board.schemas import SCHEMAS

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: What is the same in equal datasets under equal noise.
_SAME = ["protocol", "fingerprint", "channels", "height", "width"]


def labels_of_first(parts: Mapping[str, Results]) -> dict[str, dict[str, str]]:
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


def relabelled(results: Results, labels: Mapping[str, str]) -> Results:
    """Return results whose datasets have other labels."""
    if not labels:
        return results
    tables = {name: getattr(results, name).copy() for name in SCHEMAS}
    for table in tables.values():
        for column in {"dataset", "entry"} & set(table.columns):
            table[column] = [labels.get(label, label) for label in table[column]]
    return replace(results, **tables, whole=None)
