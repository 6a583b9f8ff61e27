"""Suites that would decide claims which are undecided or not measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gahbench._util.core_yaml import dump_flow
from gahbench._util.files import write_whole
from gahbench.board.claims import Needs, Verdict
from gahbench.planning.suite_files import find_suite
from gahbench.planning.yaml_lines import Document
from gahbench.sampling.settings import Sampling

#: The largest factor of images or seeds for which a suite is written.
LARGEST = 16.0
#: Fields that suites must have in common to be united.
_SHARED = ("training", "plugins", "limits")
#: Fields of the scoring that are lists, which are united.
_LISTS = ("sigmas", "splits", "metrics")


def write_claim_suites(verdicts: Sequence[Verdict], file: str | Path) -> list[tuple[Path, list[str]]]:
    """Write the suites that would decide claims which are undecided or not measured."""
    first = Path(file)
    found = []
    for place, (content, names) in enumerate(deciding_suites(verdicts)):
        path = first if not place else first.with_stem(f"{first.stem}-{place + 1}")
        write_whole(path, written(content, names).encode())
        found.append((path, names))
    return found


def deciding_suites(verdicts: Sequence[Verdict]) -> list[tuple[dict[str, Any], list[str]]]:
    """Return the content of the suites that would decide claims, and the names of the claims."""
    groups: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for verdict in verdicts:
        needed = [case.needs for case in verdict.cases if case.outcome == "undecided" and case.needs is not None]
        if (
            verdict.outcome in ("holds", "fails")
            or verdict.claim.missing
            or any(one.factor > LARGEST or one.of == "sources" for one in needed)
        ):
            continue
        suite = verdict.claim.suite
        own = _enlarged(Document(find_suite(suite)).content if isinstance(suite, str) else suite, needed)
        sampling = dict(own["scoring"].get("sampling") or {})
        sampling.pop("count", None)
        key = dump_flow({**{name: own.get(name) for name in _SHARED}, "sampling": sampling})
        if key in groups:
            groups[key] = _united(groups[key][0], own), [*groups[key][1], verdict.name]
        else:
            groups[key] = own, [verdict.name]
    return list(groups.values())


def written(content: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return a suite as YAML, with the claims that it is for."""
    head = "".join(f"# {name}\n" for name in ("Written by 'gahbench claims --suite', to decide:", *names))
    return head + yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120)


def _enlarged(content: Mapping[str, Any], needed: Sequence[Needs]) -> dict[str, Any]:
    """Return a suite with as many images and seeds as are needed."""
    images_factor, seeds_factor = (
        max((one.factor for one in needed if one.of == of), default=1.0) for of in ("images", "seeds")
    )
    scoring = dict(content["scoring"])
    if isinstance(images := scoring.get("images", 100), int):
        scoring["images"] = math.ceil(images_factor * images)
    if isinstance(sampling := scoring.get("sampling"), dict) and "count" in sampling:
        scoring["sampling"] = {**sampling, "count": math.ceil(images_factor * sampling["count"])}
    seeds = list(content.get("seeds", [0]))
    # A variance needs two seeds.
    count = max(len(seeds), 2) if seeds_factor > 1 else len(seeds)
    more = math.ceil(seeds_factor * count) - len(seeds)
    return {**content, "scoring": scoring, "seeds": [*seeds, *range(max(seeds) + 1, max(seeds) + 1 + more)]}


def _united(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return a suite that contains two suites."""
    scoring = {**one["scoring"]}
    for name in _LISTS:
        if name in scoring or name in other["scoring"]:
            both = [*scoring.get(name, []), *other["scoring"].get(name, [])]
            are_numbers = all(isinstance(value, int | float) for value in both)
            scoring[name] = sorted(set(both)) if name == "sigmas" and are_numbers else _distinct(both)
    counts = [suite["scoring"].get("images", 100) for suite in (one, other)]
    scoring["images"] = "all" if "all" in counts else max(counts)
    samples = [suite["scoring"].get("sampling") or {} for suite in (one, other)]
    if any(samples):
        scoring["sampling"] = {**samples[0], "count": max(some.get("count", Sampling().count) for some in samples)}
    return {
        **one,
        "name": one["name"] if one["name"] == other["name"] else "claims",
        "description": "Suites of several claims in one.",
        "datasets": _distinct([*one["datasets"], *other["datasets"]]),
        "entrants": _distinct([*one["entrants"], *other["entrants"]]),
        "seeds": sorted({*one["seeds"], *other["seeds"]}),
        "scoring": scoring,
    }


def _distinct(values: Sequence[Any]) -> list[Any]:
    return list({dump_flow(value): value for value in values}.values())
