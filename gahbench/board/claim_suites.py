"""Suites whose results would decide claims that are undecided or not measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gahbench._util.core_yaml import dump_flow
from gahbench._util.files import write_atomically
from gahbench.board.claims import Needs, Verdict
from gahbench.planning.suite_files import find_suite
from gahbench.planning.yaml_lines import Document
from gahbench.sampling.settings import Sampling

#: The largest factor by which a suite may enlarge the number of images or seeds; no suite is written beyond it.
LARGEST_FACTOR = 16.0
#: Fields that must be equal for two suites to be merged.
_SHARED_FIELDS = ("training", "plugins", "limits")
#: Fields of the scoring that are lists, and are concatenated in a merged suite.
_LIST_FIELDS = ("sigmas", "splits", "metrics")


def write_claim_suites(verdicts: Sequence[Verdict], file: str | Path) -> list[tuple[Path, list[str]]]:
    """Write the suites that would decide claims; return their paths, each with the names of its claims."""
    first_path = Path(file)
    written_suites = []
    for index, (content, names) in enumerate(deciding_suites(verdicts)):
        path = first_path if not index else first_path.with_stem(f"{first_path.stem}-{index + 1}")
        write_atomically(path, format_suite(content, names).encode())
        written_suites.append((path, names))
    return written_suites


def deciding_suites(verdicts: Sequence[Verdict]) -> list[tuple[dict[str, Any], list[str]]]:
    """Return the content of each suite that would decide claims, with the names of its claims."""
    groups: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for verdict in verdicts:
        needs = [case.needs for case in verdict.cases if case.outcome == "undecided" and case.needs is not None]
        if (
            verdict.outcome in ("holds", "fails")
            or verdict.claim.missing
            or any(need.factor > LARGEST_FACTOR or need.kind == "sources" for need in needs)
        ):
            continue
        suite = verdict.claim.suite
        enlarged = _enlarge(Document(find_suite(suite)).content if isinstance(suite, str) else suite, needs)
        sampling = dict(enlarged["scoring"].get("sampling") or {})
        sampling.pop("count", None)
        key = dump_flow({**{name: enlarged.get(name) for name in _SHARED_FIELDS}, "sampling": sampling})
        if key in groups:
            groups[key] = _merge(groups[key][0], enlarged), [*groups[key][1], verdict.name]
        else:
            groups[key] = enlarged, [verdict.name]
    return list(groups.values())


def format_suite(content: Mapping[str, Any], names: Sequence[str]) -> str:
    """Format a suite as YAML, with a comment that names its claims."""
    head = "".join(f"# {name}\n" for name in ("Written by 'gahbench claims --suite', to decide:", *names))
    return head + yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120)


def _enlarge(content: Mapping[str, Any], needs: Sequence[Needs]) -> dict[str, Any]:
    """Return a suite with enough images and seeds to meet all needs."""
    images_factor, seeds_factor = (
        max((need.factor for need in needs if need.kind == kind), default=1.0) for kind in ("images", "seeds")
    )
    scoring = dict(content["scoring"])
    if isinstance(images := scoring.get("images", 100), int):
        scoring["images"] = math.ceil(images_factor * images)
    if isinstance(sampling := scoring.get("sampling"), dict) and "count" in sampling:
        scoring["sampling"] = {**sampling, "count": math.ceil(images_factor * sampling["count"])}
    seeds = list(content.get("seeds", [0]))
    # An estimate of the variance needs two seeds.
    count = max(len(seeds), 2) if seeds_factor > 1 else len(seeds)
    added = math.ceil(seeds_factor * count) - len(seeds)
    return {**content, "scoring": scoring, "seeds": [*seeds, *range(max(seeds) + 1, max(seeds) + 1 + added)]}


def _merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return a suite that contains all units of two suites."""
    scoring = {**first["scoring"]}
    for name in _LIST_FIELDS:
        if name in scoring or name in second["scoring"]:
            values = [*scoring.get(name, []), *second["scoring"].get(name, [])]
            are_numbers = all(isinstance(value, int | float) for value in values)
            scoring[name] = sorted(set(values)) if name == "sigmas" and are_numbers else _distinct(values)
    counts = [suite["scoring"].get("images", 100) for suite in (first, second)]
    scoring["images"] = "all" if "all" in counts else max(counts)
    samplings = [suite["scoring"].get("sampling") or {} for suite in (first, second)]
    if any(samplings):
        counts = [settings.get("count", Sampling().count) for settings in samplings]
        scoring["sampling"] = {**samplings[0], "count": max(counts)}
    return {
        **first,
        "name": first["name"] if first["name"] == second["name"] else "claims",
        "description": "One suite for several claims.",
        "datasets": _distinct([*first["datasets"], *second["datasets"]]),
        "entrants": _distinct([*first["entrants"], *second["entrants"]]),
        "seeds": sorted({*first["seeds"], *second["seeds"]}),
        "scoring": scoring,
    }


def _distinct(values: Sequence[Any]) -> list[Any]:
    return list({dump_flow(value): value for value in values}.values())
