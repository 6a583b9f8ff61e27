"""Verdicts on claims: whether tidy tables of results support statements of publications.

A claim has a region in which its values must lie. The values are about a family: every noise level, basis or number
of images that it names, and every case, which is a pair of dataset and entrant in one of the folders. Their intervals
cover all of them at once with 95 % (:func:`gahbench.board.statistics.simultaneous_intervals`). A claim

- **holds** where all of the intervals lie in the region,
- **fails** where one of them is disjoint from it,
- is **undecided** otherwise, and
- is **not measured** where there are no values, one of them is missing or not finite, or its conditions are not met;
  with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from gahbench._util.errors import ParameterError, ResultsError, listing
from gahbench.board.claim_measures import NotMeasuredError, Quantity, quantity, rows_of
from gahbench.board.claim_values import Table
from gahbench.board.facts import too_few
from gahbench.board.results import INDEX, load_results
from gahbench.board.statistics import MIN_SOURCES, UNKNOWN, Interval, simultaneous_intervals
from gahbench.contracts.claims import OUTCOMES, Claim, Condition, Measure, Outcome, Region
from gahbench.contracts.row_labels import matches
from gahbench.registry.registry import Registry, open_registry
from gahbench.store.plan_file import short_names

#: Larger factors of images or seeds are not stated.
FARTHEST = 1000.0


class UnmetError(NotMeasuredError):
    """A condition of a claim is not met in a case."""


@dataclass(frozen=True)
class Needs:
    """How many more images, samples, sources of images or seeds an undecided value needs."""

    factor: float
    of: Literal["images", "sources", "seeds"]
    count: int

    def __str__(self) -> str:
        what = "sources of images" if self.of == "sources" else self.of
        if self.factor > FARTHEST:
            return f"more than {FARTHEST:g} × as many {what}: the value lies at the end of the region"
        # With more seeds the tails of t statistics become lighter, too.
        most = "up to " if self.of == "seeds" else ""
        factor = f"{self.factor:.1f}" if self.factor < 10 else f"{self.factor:.0f}"
        return f"{most}{factor} × as many {what}{f' ({self.count})' if self.count else ''}"


@dataclass(frozen=True)
class Case:
    """The outcome of a claim for a dataset and an entrant of a results folder."""

    folder: str
    dataset: str
    entrant: str
    outcome: Outcome
    estimate: Interval = UNKNOWN
    at: str = ""
    count: int = 0
    reason: str = ""
    needs: Needs | None = None


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim."""

    name: str
    claim: Claim
    outcome: Outcome
    cases: tuple[Case, ...] = ()
    reason: str = ""

    @property
    def decisive(self) -> Case | None:
        """The least favourable case; ``None`` if none is measured."""
        return self.cases[0] if self.cases and self.outcome != "not measured" else None

    def counted(self) -> dict[Outcome, int]:
        """Return how many cases have each outcome."""
        return {outcome: sum(case.outcome == outcome for case in self.cases) for outcome in OUTCOMES}


def known_claims(registry: Registry) -> dict[str, Claim]:
    """Return the claims of a registry by ``paper/claim``, as papers are registered."""
    return {
        f"{plugin.name}/{claim.id}": claim
        for plugin in registry.plugins("claim")
        for claim in registry.create("claim", plugin.name)
    }


def claims(*folders: str | Path, only: Sequence[str] = (), plugins: Sequence[str | Path] = ()) -> list[Verdict]:
    """Return the verdict of results on each claim of a publication that is known.

    Parameters
    ----------
    *folders
        Results folders, or folders of them. Without any no claim is measured.
    only
        Papers, claims, ``paper/claim``, or patterns of these; by default all.
    plugins
        Plugin files, YAML files of claims, or folders of plugin files.

    Returns
    -------
    list of Verdict
        Whether each ``holds``, ``fails``, is ``undecided`` or ``not measured``, with its cases.

    Raises
    ------
    ParameterError
        If a pattern matches no claim; names what there is.
    ResultsError
        If a folder holds no results, or they cannot be read.
    SuiteError
        If a file of claims does not validate.
    """
    known = _chosen(known_claims(open_registry(plugins)), only)
    paths = [path for folder in folders for path in _results_folders(Path(folder))]
    names = short_names(paths) if paths else []
    tables = [Table(name, load_results(path)) for name, path in zip(names, paths, strict=True)]
    return [judge(name, claim, tables) for name, claim in known.items()]


def _chosen(known: dict[str, Claim], only: Sequence[str]) -> dict[str, Claim]:
    """Return the claims that match one of some patterns by ``paper/claim``; all without patterns."""
    for pattern in only:
        if not any(_is_named(name, pattern) for name in known):
            papers = list(dict.fromkeys(name.partition("/")[0] for name in known))
            raise ParameterError(f"no claim '{pattern}'; there are those of {listing(papers)}")
    return {
        name: claim for name, claim in known.items() if not only or any(_is_named(name, pattern) for pattern in only)
    }


def _is_named(name: str, pattern: str) -> bool:
    paper, _, claim = name.partition("/")
    return any(matches(one, pattern) for one in (name, paper, claim))


def _results_folders(folder: Path) -> list[Path]:
    """Return the results folders that a path names: itself, or those in it."""
    if (folder / INDEX).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{INDEX}")) if folder.is_dir() else []
    if not found:
        raise ResultsError(f"{folder}: neither a results folder nor a folder of them; expected {INDEX}, or */{INDEX}")
    return found


def judge(name: str, claim: Claim, tables: Sequence[Table]) -> Verdict:
    """Return the verdict of tidy tables on a claim."""
    found: list[tuple[Case, Quantity]] = []
    unmet: list[Case] = []
    missing: list[Case] = []
    for table in tables:
        for dataset in table.datasets:
            if not any(matches(dataset, one) for one in claim.measure.datasets):
                continue
            for entrant in rows_of(table, dataset, claim.measure):
                case = Case(table.name, dataset, entrant, "not measured")
                try:
                    known = quantity(table, dataset, entrant, claim.measure)
                    for condition in claim.requires:
                        _require(condition, table, case, known)
                    _require_finite(known, claim.measure, case)
                    found.append((case, known))
                except UnmetError as error:
                    unmet.append(replace(case, reason=str(error)))
                except NotMeasuredError as error:
                    missing.append(replace(case, reason=str(error)))
    missing = [*unmet, *missing]
    if not found:
        return Verdict(name, claim, "not measured", tuple(missing), _why(claim, tables, missing))
    cases = sorted(_decided(claim, found), key=lambda pair: pair[1])
    outcomes = {case.outcome for case, _ in cases}
    outcome: Outcome = "fails" if "fails" in outcomes else "undecided" if "undecided" in outcomes else "holds"
    return Verdict(name, claim, outcome, (*(case for case, _ in cases), *missing))


def _decided(claim: Claim, found: Sequence[tuple[Case, Quantity]]) -> Iterable[tuple[Case, tuple[int, float]]]:
    """Yield cases with their outcomes, and by what they are sorted: the least favourable first."""
    values = np.concatenate([known.values for _, known in found])
    lows, highs = simultaneous_intervals(values, np.concatenate([known.draws for _, known in found], axis=1))
    start = 0
    for case, known in found:
        places = range(start, start + len(known.values))
        start += len(known.values)
        members = [Interval(float(values[at]), float(lows[at]), float(highs[at])) for at in places]
        orders = [_order(one, claim.region) for one in members]
        worst = min(range(len(members)), key=lambda at: orders[at])
        one = members[worst]
        outcome = claim.region.outcome(one.low, one.high)
        reason = _no_interval(known) if math.isnan(one.low) else ""
        yield (
            Case(
                case.folder, case.dataset, case.entrant, outcome, one, known.names[worst], len(members), reason,
                needs(one, claim.region, known) if outcome == "undecided" and not reason else None,
            ),
            orders[worst],
        )  # fmt: skip


def _no_interval(known: Quantity) -> str:
    """Return why a value has no interval."""
    if 0 < known.images < MIN_SOURCES:
        return f"no interval: {too_few(known.images, known.has_sources)}"
    if known.images > 1 or known.seeds > 1:
        return "no interval, as a mean that it is divided by may be 0"
    return "one seed has no interval"


def _order(one: Interval, region: Region) -> tuple[int, float]:
    """Return by what values are sorted: failing ones first, then undecided ones, each the least favourable first."""
    outcome = region.outcome(one.low, one.high)
    if math.isnan(one.low):
        return 2, 0.0
    half = (one.high - one.low) / 2
    distance = region.distance(one.value)
    scaled = distance / half if half > 0 else math.copysign(math.inf, distance) if distance else 0.0
    return {"fails": 0, "undecided": 1, "holds": 3}[outcome], scaled


def needs(one: Interval, region: Region, known: Quantity) -> Needs:
    """Return how many more images or seeds would decide a value, if it stays where it is."""
    factors = []
    for end in (region.low, region.high):
        if math.isfinite(end) and one.low <= end <= one.high:
            half = one.value - one.low if end < one.value else one.high - one.value
            gap = abs(one.value - end)
            factors.append((half / gap) ** 2 if gap > 0 else math.inf)
    factor = max(1.0, (max if region.contains(one.value) else min)(factors, default=math.inf))
    of: Literal["images", "sources", "seeds"] = "sources" if known.has_sources else "images"
    if known.seed_share > 0.5 or not known.images:
        of = "seeds"
    count = known.seeds if of == "seeds" else known.images
    return Needs(factor, of, math.ceil(factor * count) if factor <= FARTHEST else 0)


def _require_finite(known: Quantity, measure: Measure, case: Case) -> None:
    """Raise where a value is missing, or is not finite: without it the claim would be about the others alone."""
    lost = [name for name, value in zip(known.names, known.values, strict=True) if not np.isfinite(value)]
    if lost:
        places = f" at {'; '.join(lost)}" if any(lost) else ""
        raise NotMeasuredError(f"{measure.metric} of {case.entrant} on {case.dataset} has no finite value{places}")


def _require(condition: Condition, table: Table, case: Case, known: Quantity) -> None:
    """Raise unless a condition is met in a case."""
    if not isinstance(condition.of, Measure):
        fact = condition.of
        side, steps = table.side(case.dataset), table.steps(case.dataset, case.entrant)
        facts = {"side": math.nan if side is None else side, "steps": math.nan if steps is None else steps}
        value = float(facts.get(fact, known.fact(fact)))
        if not condition.region.contains(value):
            shown = "unknown" if math.isnan(value) else f"{value:g}"
            raise UnmetError(f"{fact} of {case.entrant} on {case.dataset}: {shown}, needed {condition.region}")
        return
    own = quantity(table, case.dataset, case.entrant, condition.of)
    lows, highs = simultaneous_intervals(own.values, own.draws)
    for name, value, low, high in zip(own.names, own.values, lows, highs, strict=True):
        if condition.region.outcome(low, high) != "holds":
            what = " ".join(filter(None, (condition.of.slope and "slope of", condition.of.metric)))
            place = f"{f' at {name}' if name else ''} of {case.entrant} on {case.dataset}"
            raise UnmetError(
                f"{what}{place}: {value:.3g} [{low:.3g}, {high:.3g}], needed {condition.region}, as a condition"
            )


def _why(claim: Claim, tables: Sequence[Table], missing: Sequence[Case]) -> str:
    """Return why a claim is not measured at all."""
    if claim.missing:
        return claim.missing
    if not tables:
        return "no results"
    measure = claim.measure
    if not any(matches(name, one) for table in tables for name in table.datasets for one in measure.datasets):
        return f"no dataset {listing(measure.datasets)}"
    if not missing:
        rows = "" if measure.number is None else " for several numbers of training images"
        return f"no row of {listing(measure.entrants)}{rows} on {listing(measure.datasets)}"
    reasons = list(dict.fromkeys(case.reason for case in missing))
    return "; ".join(reasons[:2]) + (f"; and {len(reasons) - 2} more" if len(reasons) > 2 else "")
