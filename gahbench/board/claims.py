"""Verdicts on claims: whether tidy tables of results support statements of publications.

A claim has a region in which its values must lie. In each case, which is a pair of dataset and entrant in a results
folder, there is a value for every noise level, basis or number of images that the claim names. The intervals are
simultaneous: all of them together hold with a probability of 95 %
(:func:`gahbench.board.statistics.simultaneous_intervals`). A claim

- **holds** if all intervals lie in the region,
- **fails** if at least one interval is disjoint from the region,
- is **undecided** otherwise, and
- is **not measured**, with a reason, if there are no values, a value is missing or not finite, or the conditions of the
  claim are not met.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from gahbench._util.errors import ParameterError, ResultsError, listing
from gahbench.board.claim_measures import NotMeasuredError, Quantity, measure_quantity, measured_entrants
from gahbench.board.claim_values import Table
from gahbench.board.facts import too_few
from gahbench.board.results import INDEX, load_results
from gahbench.board.statistics import MIN_SOURCES, UNKNOWN, Interval, simultaneous_intervals
from gahbench.contracts.claims import OUTCOMES, Claim, Condition, Measure, Outcome, Region
from gahbench.contracts.row_labels import matches
from gahbench.registry.registry import Registry, open_registry
from gahbench.store.plan_file import short_names

#: Factors of images or seeds above this number are reported as "more than" this number.
LARGEST_STATED_FACTOR = 1000.0


class UnmetError(NotMeasuredError):
    """A case does not meet a condition of its claim."""


@dataclass(frozen=True)
class Needs:
    """The factor by which images, sources of images or seeds must grow to decide an undecided value."""

    factor: float
    kind: Literal["images", "sources", "seeds"]
    count: int

    def __str__(self) -> str:
        noun = "sources of images" if self.kind == "sources" else self.kind
        if self.factor > LARGEST_STATED_FACTOR:
            return f"more than {LARGEST_STATED_FACTOR:g} × as many {noun}: the value lies at the end of the region"
        # More seeds also make the tails of t statistics lighter, so the factor is an upper bound.
        most = "up to " if self.kind == "seeds" else ""
        factor = f"{self.factor:.1f}" if self.factor < 10 else f"{self.factor:.0f}"
        return f"{most}{factor} × as many {noun}{f' ({self.count})' if self.count else ''}"


@dataclass(frozen=True)
class Case:
    """The outcome of a claim for a dataset and an entrant of a results folder.

    ``estimate`` is the least favourable of ``count`` values, and ``at`` says which value it is.
    """

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
    def verified(self) -> bool:
        """Whether the claim was compared with its source; unverified claims are not counted."""
        return self.claim.checked != "unverified"

    @property
    def decisive(self) -> Case | None:
        """The least favourable case; ``None`` if no case is measured."""
        return self.cases[0] if self.cases and self.outcome != "not measured" else None

    def count_outcomes(self) -> dict[Outcome, int]:
        """Return how many cases have each outcome."""
        return {outcome: sum(case.outcome == outcome for case in self.cases) for outcome in OUTCOMES}


def known_claims(registry: Registry) -> dict[str, Claim]:
    """Return the claims of a registry by ``paper/claim``, in order of registration."""
    return {
        f"{plugin.name}/{claim.id}": claim
        for plugin in registry.plugins("claim")
        for claim in registry.create("claim", plugin.name)
    }


def claims(*folders: str | Path, only: Sequence[str] = (), plugins: Sequence[str | Path] = ()) -> list[Verdict]:
    """Return the verdict of results on each known claim of a publication.

    Parameters
    ----------
    *folders
        Results folders, or folders that contain results folders. Without folders, no claim is measured.
    only
        Names of papers or claims, ``paper/claim``, or patterns of these; all claims by default.
    plugins
        Plugin files, YAML files of claims, or folders of plugin files.

    Returns
    -------
    list of Verdict
        One verdict for each claim, with its cases: the outcome is ``holds``, ``fails``, ``undecided`` or
        ``not measured``.

    Raises
    ------
    ParameterError
        If a pattern matches no claim; the message lists the papers.
    ResultsError
        If a folder holds no results, or its results cannot be read.
    SuiteError
        If a file of claims is invalid.

    Examples
    --------
    In a clone of the repository:

    >>> import gahbench
    >>> [verdict] = gahbench.claims("results/quick", only=["kadkhodaie-2024/discs-slope"])
    >>> verdict.outcome, round(verdict.decisive.estimate.value, 2)
    ('holds', 0.87)
    """
    chosen_claims = _select(known_claims(open_registry(plugins)), only)
    paths = [path for folder in folders for path in _results_folders(Path(folder))]
    names = short_names(paths) if paths else []
    tables = [Table(name, load_results(path)) for name, path in zip(names, paths, strict=True)]
    return [judge(name, claim, tables) for name, claim in chosen_claims.items()]


def _select(known: dict[str, Claim], only: Sequence[str]) -> dict[str, Claim]:
    """Return the claims that match a pattern, by ``paper/claim``; all claims if there are no patterns."""
    for pattern in only:
        if not any(_is_named(name, pattern) for name in known):
            papers = list(dict.fromkeys(name.partition("/")[0] for name in known))
            raise ParameterError(f"no claim matches '{pattern}'; there are claims of {listing(papers)}")
    return {
        name: claim for name, claim in known.items() if not only or any(_is_named(name, pattern) for pattern in only)
    }


def _is_named(name: str, pattern: str) -> bool:
    paper, _, claim = name.partition("/")
    return any(matches(candidate, pattern) for candidate in (name, paper, claim))


def _results_folders(folder: Path) -> list[Path]:
    """Return the results folders that a path names: the folder itself, or the results folders in it."""
    if (folder / INDEX).is_file():
        return [folder]
    folders = sorted(path.parent for path in folder.glob(f"*/{INDEX}")) if folder.is_dir() else []
    if not folders:
        raise ResultsError(f"{folder}: holds no results; expected {INDEX}, or */{INDEX}")
    return folders


def judge(name: str, claim: Claim, tables: Sequence[Table]) -> Verdict:
    """Return the verdict of tidy tables on a claim."""
    measured: list[tuple[Case, Quantity]] = []
    unmet: list[Case] = []
    missing: list[Case] = []
    for table in tables:
        for dataset in table.datasets:
            if not any(matches(dataset, pattern) for pattern in claim.measure.datasets):
                continue
            for entrant in measured_entrants(table, dataset, claim.measure):
                case = Case(table.name, dataset, entrant, "not measured")
                try:
                    quantity = measure_quantity(table, dataset, entrant, claim.measure)
                    for condition in claim.requires:
                        _require(condition, table, case, quantity)
                    _require_finite(quantity, claim.measure, case)
                    measured.append((case, quantity))
                except UnmetError as error:
                    unmet.append(replace(case, reason=str(error)))
                except NotMeasuredError as error:
                    missing.append(replace(case, reason=str(error)))
    missing = [*unmet, *missing]
    if not measured:
        return Verdict(name, claim, "not measured", tuple(missing), _why_not_measured(claim, tables, missing))
    cases = sorted(_decide(claim, measured), key=lambda pair: pair[1])
    outcomes = {case.outcome for case, _ in cases}
    outcome: Outcome = "fails" if "fails" in outcomes else "undecided" if "undecided" in outcomes else "holds"
    return Verdict(name, claim, outcome, (*(case for case, _ in cases), *missing))


def _decide(claim: Claim, measured: Sequence[tuple[Case, Quantity]]) -> Iterable[tuple[Case, tuple[int, float]]]:
    """Yield cases with their outcomes and sort keys; the least favourable case has the smallest key."""
    values = np.concatenate([quantity.values for _, quantity in measured])
    draws = np.concatenate([quantity.draws for _, quantity in measured], axis=1)
    lows, highs = simultaneous_intervals(values, draws)
    start = 0
    for case, quantity in measured:
        indices = range(start, start + len(quantity.values))
        start += len(quantity.values)
        members = [Interval(float(values[index]), float(lows[index]), float(highs[index])) for index in indices]
        sort_keys = [_sort_key(member, claim.region) for member in members]
        worst_index = min(range(len(members)), key=lambda index: sort_keys[index])
        worst = members[worst_index]
        outcome = claim.region.outcome(worst.low, worst.high)
        reason = _why_no_interval(quantity) if math.isnan(worst.low) else ""
        needs = estimate_needs(worst, claim.region, quantity) if outcome == "undecided" and not reason else None
        yield (
            Case(
                case.folder, case.dataset, case.entrant, outcome, worst, quantity.names[worst_index], len(members),
                reason, needs,
            ),
            sort_keys[worst_index],
        )  # fmt: skip


def _why_no_interval(quantity: Quantity) -> str:
    """Return why a value has no interval."""
    if 0 < quantity.images < MIN_SOURCES:
        return f"no interval: {too_few(quantity.images, quantity.has_sources)}"
    if quantity.images > 1 or quantity.seeds > 1:
        return "no interval: the denominator may be 0"
    return "no interval: there is only one seed"


def _sort_key(interval: Interval, region: Region) -> tuple[int, float]:
    """Return a sort key: failing values come first, then undecided values, each from the least favourable."""
    outcome = region.outcome(interval.low, interval.high)
    if math.isnan(interval.low):
        return 2, 0.0
    half_width = (interval.high - interval.low) / 2
    distance = min(interval.value - region.low, region.high - interval.value)
    scaled = distance / half_width if half_width > 0 else math.copysign(math.inf, distance) if distance else 0.0
    return {"fails": 0, "undecided": 1, "holds": 3}[outcome], scaled


def estimate_needs(interval: Interval, region: Region, quantity: Quantity) -> Needs:
    """Estimate how many more images or seeds would decide a value, if the value itself does not change."""
    factors = []
    for end in (region.low, region.high):
        if math.isfinite(end) and interval.low <= end <= interval.high:
            half_width = interval.value - interval.low if end < interval.value else interval.high - interval.value
            gap = abs(interval.value - end)
            factors.append((half_width / gap) ** 2 if gap > 0 else math.inf)
    factor = max(
        1.0, (max if region.outcome(interval.value, interval.value) == "holds" else min)(factors, default=math.inf)
    )
    kind: Literal["images", "sources", "seeds"] = "sources" if quantity.has_sources else "images"
    if quantity.seed_share > 0.5 or not quantity.images:
        kind = "seeds"
    count = quantity.seeds if kind == "seeds" else quantity.images
    return Needs(factor, kind, math.ceil(factor * count) if factor <= LARGEST_STATED_FACTOR else 0)


def _require_finite(quantity: Quantity, measure: Measure, case: Case) -> None:
    """Raise if a value is missing or not finite, since the claim is about all values."""
    missing_names = [
        name for name, value in zip(quantity.names, quantity.values, strict=True) if not np.isfinite(value)
    ]
    if missing_names:
        location = f" at {'; '.join(missing_names)}" if any(missing_names) else ""
        raise NotMeasuredError(f"{measure.metric} of {case.entrant} on {case.dataset} has no finite value{location}")


def _require(condition: Condition, table: Table, case: Case, quantity: Quantity) -> None:
    """Raise unless a case meets a condition."""
    if (fact := condition.fact) is not None:
        side, steps = table.side(case.dataset), table.steps(case.dataset, case.entrant)
        facts = {"side": math.nan if side is None else side, "steps": math.nan if steps is None else steps}
        value = float(facts.get(fact, quantity.fact(fact)))
        if condition.region.outcome(value, value) != "holds":
            value_text = "unknown" if math.isnan(value) else f"{value:g}"
            raise UnmetError(f"{fact} of {case.entrant} on {case.dataset}: {value_text}, needed {condition.region}")
        return
    measure = condition.measure
    assert measure is not None
    required = measure_quantity(table, case.dataset, case.entrant, measure)
    lows, highs = simultaneous_intervals(required.values, required.draws)
    for name, value, low, high in zip(required.names, required.values, lows, highs, strict=True):
        if condition.region.outcome(low, high) != "holds":
            measure_name = " ".join(filter(None, (measure.slope and "slope of", measure.metric)))
            location = f"{f' at {name}' if name else ''} of {case.entrant} on {case.dataset}"
            raise UnmetError(
                f"condition not met: {measure_name}{location}: {value:.3g} [{low:.3g}, {high:.3g}], needed "
                f"{condition.region}"
            )


def _why_not_measured(claim: Claim, tables: Sequence[Table], missing: Sequence[Case]) -> str:
    """Return the reason why no case of a claim is measured."""
    if claim.missing:
        return claim.missing
    if not tables:
        return "no results"
    measure = claim.measure
    if not any(matches(name, pattern) for table in tables for name in table.datasets for pattern in measure.datasets):
        return f"no dataset {listing(measure.datasets)}"
    if not missing:
        rows = "" if measure.number is None else " for several numbers of training images"
        return f"no row of {listing(measure.entrants)}{rows} on {listing(measure.datasets)}"
    reasons = list(dict.fromkeys(case.reason for case in missing))
    return "; ".join(reasons[:2]) + (f"; and {len(reasons) - 2} more" if len(reasons) > 2 else "")
