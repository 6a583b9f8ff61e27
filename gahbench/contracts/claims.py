"""Claims: statements of publications, each as a quantity in the tidy table and the region in which it must lie."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter

from gahbench._util.core_yaml import as_number
from gahbench._util.errors import listing
from gahbench.contracts.citation import Citation

Outcome = Literal["holds", "fails", "undecided", "not measured"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

Checked = Literal["text", "abstract", "code", "unverified"]
#: The source that a statement and its numbers were compared with, in words. Unverified claims are not counted.
CHECKED: dict[Checked, str] = {
    "text": "compared with the paper's text",
    "abstract": "compared with the paper's abstract",
    "code": "compared with the published code",
    "unverified": "unverified",
}

Take = Literal["each", "mean", "lowest", "highest"]
Slope = Literal["input-psnr", "log10-N"]
Scale = Literal["linear", "log10"]
Fact = Literal["images", "seeds", "levels", "decibels", "N", "side", "steps"]

_ID = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
#: Names of fields in YAML files that differ from the names of attributes.
FILE_NAMES = {"start": "from", "end": "to", "number": "N", "metrics": "metric"}


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str | int | float) else value


def _as_levels(value: Any) -> Any:
    if isinstance(value, str) and not value[:1].isdigit() and value[:1] != ".":
        return {"take": value}
    return {"at": value} if isinstance(value, str | int | float | list) else value


#: Types of fields as YAML files write them.
_Number = Annotated[float, Field(strict=True), BeforeValidator(as_number)]
_Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
_NonEmptyTexts = Annotated[_Texts, Field(min_length=1)]
_Line = Annotated[str, AfterValidator(lambda text: " ".join(text.split()))]


class _Fields:
    """Base of the parts of a claim that are read from files."""

    __pydantic_config__ = ConfigDict(
        extra="forbid", allow_inf_nan=False, alias_generator=lambda name: FILE_NAMES.get(name, name)
    )


@dataclass(frozen=True)
class Region(_Fields):
    """The region in which a value must lie for a claim to hold: an interval, open or closed at each end.

    Parameters
    ----------
    start
        Lower end that belongs to the region. Give at most one of ``start`` and ``above``; without either, the region
        is unbounded below.
    end
        Upper end that belongs to the region. Give at most one of ``end`` and ``below``; without either, the region is
        unbounded above.
    above
        Lower end that does not belong to the region.
    below
        Upper end that does not belong to the region.

    Raises
    ------
    ValueError
        If the region is empty, is unbounded on both sides, or has two ends on one side.

    Examples
    --------
    >>> Region(start=0.9, end=1.1).outcome(0.95, 1.02), Region(above=0).outcome(-0.1, 0.2)
    ('holds', 'undecided')
    """

    start: _Number | None = None
    end: _Number | None = None
    above: _Number | None = None
    below: _Number | None = None

    def __post_init__(self) -> None:
        ends = [value for value in (self.start, self.end, self.above, self.below) if value is not None]
        if not ends or not all(map(math.isfinite, ends)):
            raise ValueError(
                f"a region needs at least one of from, to, above and below, and finite values for them, not {ends}"
            )
        if (self.start is not None and self.above is not None) or (self.end is not None and self.below is not None):
            raise ValueError("a region has one end on each side: either from or above, and either to or below")
        if self.low > self.high or (self.low == self.high and (self.above is not None or self.below is not None)):
            raise ValueError(f"the region is empty: {self}")

    @property
    def low(self) -> float:
        """The lower end; minus infinity if the region is unbounded below."""
        end = self.start if self.start is not None else self.above
        return -math.inf if end is None else end

    @property
    def high(self) -> float:
        """The upper end; infinity if the region is unbounded above."""
        end = self.end if self.end is not None else self.below
        return math.inf if end is None else end

    def contains(self, value: float) -> bool:
        """Return whether a value lies in the region; NaN does not."""
        above = value >= self.low if self.above is None else value > self.low
        below = value <= self.high if self.below is None else value < self.high
        return above and below

    def outcome(self, low: float, high: float) -> Outcome:
        """Return ``holds`` if an interval lies inside the region, ``fails`` if outside, otherwise ``undecided``."""
        if math.isnan(low) or math.isnan(high) or low > high:
            return "undecided"
        if self.contains(low) and self.contains(high):
            return "holds"
        below = high < self.low or (high == self.low and self.above is not None)
        above = low > self.high or (low == self.high and self.below is not None)
        return "fails" if below or above else "undecided"

    def distance(self, value: float) -> float:
        """Return the distance of a value from the nearest end; negative outside the region."""
        return min(value - self.low, self.high - value)

    def __str__(self) -> str:
        if self.start is not None and self.end is not None:
            text = f"{self.start:g} to {self.end:g}"
        else:
            ends = {"≥": self.start, ">": self.above, "≤": self.end, "<": self.below}
            text = " and ".join(f"{sign} {end:g}" for sign, end in ends.items() if end is not None)
        return text.replace("-", "−")


@dataclass(frozen=True)
class Levels(_Fields):
    """A choice of noise levels, or of numbers of training images, and how values at them are reduced.

    Parameters
    ----------
    take
        ``each``: the claim is about all levels simultaneously; ``mean``: about the mean over levels; ``lowest`` or
        ``highest``: only about this level.
    at
        The levels, each of which must have been measured, to within 5 %; by default, all measured levels.
    start
        The smallest level.
    end
        The largest level.

    Examples
    --------
    >>> str(Levels(start=0.1, end=0.4, take="mean"))
    'mean of 0.1 to 0.4'
    """

    take: Take = "each"
    at: Annotated[tuple[_Number, ...], BeforeValidator(_as_tuple)] = ()
    start: _Number = 0.0
    end: _Number = math.inf

    def __post_init__(self) -> None:
        if self.take not in get_args(Take):
            raise ValueError(f"take={self.take!r}; accepted: {listing(get_args(Take))}")
        if not all(level > 0 for level in self.at) or self.start > self.end:
            raise ValueError(f"levels are greater than 0, and 'from' is at most 'to', not {self}")

    def __str__(self) -> str:
        if self.at:
            return ", ".join(f"{level:g}" for level in self.at)
        if self.start > 0 or self.end < math.inf:
            range_ = f"≥ {self.start:g}" if self.end == math.inf else f"{self.start:g} to {self.end:g}"
            return range_ if self.take == "each" else f"{self.take} of {range_}"
        return self.take


_Levels = Annotated[Levels, BeforeValidator(_as_levels)]


@dataclass(frozen=True)
class Compared(_Fields):
    """The measure that a value is compared with, given by the fields that differ from the value's measure.

    Parameters
    ----------
    metrics
        Names of metrics in the tidy table, or patterns; the claim is about the comparison with each of them.
    entrant
        A label, or a pattern. Each entrant that matches is compared; in a sweep, at the same number of images.
    dataset
        The label of a dataset, in which ``{dataset}`` stands for the dataset of the value.
    split
        The split of the dataset.
    number
        The numbers of training images.

    Examples
    --------
    >>> Measure("psnr", entrants=("unet",), minus=Compared(entrant="bm3d")).minus.entrant
    'bm3d'
    """

    metrics: _Texts = ()
    entrant: str = ""
    dataset: str = ""
    split: str = ""
    number: _Levels | None = None

    def __post_init__(self) -> None:
        if not (self.metrics or self.entrant or self.dataset or self.split or self.number):
            raise ValueError("a comparison needs at least one of metric, entrant, dataset, split, N")


@dataclass(frozen=True)
class Measure(_Fields):
    """A query on the tidy table: means over images and seeds, optionally compared with another measure and reduced.

    Parameters
    ----------
    metric
        The name of a metric in the tidy table, such as ``spectrum.above-half``, a ratio that a metric defines,
        ``self-consistency``, or ``deficit``, the distance from the optimum in dB. ``*`` matches any characters, as in
        ``direction[graph-laplacian*]``.
    entrants, datasets
        Labels, names before the brackets, or patterns. Each matching pair of an entrant and a dataset is one case.
    without
        Entrants to leave out.
    split
        The split of the dataset.
    sigma
        The noise levels, for a metric that has them.
    number
        The numbers of training images, which select rows of a sweep. By default, rows outside sweeps are selected.
    minus
        The measure to subtract; not together with ``over``.
    over
        The measure to divide by; not together with ``minus``.
    scale
        ``linear``, or ``log10`` to average the logarithms of values, for values above 0 whose order of magnitude
        matters, such as times. With ``over``, ``log10`` gives the difference of two logarithms.
    slope
        The slope against ``input-psnr`` (-20 log10 sigma) over the noise levels, or against ``log10-N`` over the
        numbers of training images; it replaces ``take``.

    Raises
    ------
    ValueError
        If fields contradict each other.

    Examples
    --------
    >>> Measure("deficit", datasets=("discs",), sigma=Levels(take="lowest")).sigma.take
    'lowest'
    """

    metric: str
    entrants: _NonEmptyTexts = ("*",)
    datasets: _NonEmptyTexts = ("*",)
    without: _Texts = ()
    split: str = "test"
    sigma: _Levels = field(default_factory=Levels)
    number: _Levels | None = None
    minus: Compared | None = None
    over: Compared | None = None
    scale: Scale = "linear"
    slope: Slope | None = None

    def __post_init__(self) -> None:
        if not (self.metric and self.entrants and self.datasets):
            raise ValueError("a measure needs a metric, entrants and datasets")
        for name in (self.metric, *(metric for other in (self.minus, self.over) if other for metric in other.metrics)):
            if name.count("[") != name.count("]"):
                raise ValueError(f"metric: the brackets of {name!r} are not closed, as in distance[pspc*]")
        if self.minus is not None and self.over is not None:
            raise ValueError("a measure has either minus or over, not both")
        if self.minus is not None and self.scale == "log10":
            raise ValueError("scale: log10 cannot be combined with minus, since differences may be negative; use over")
        if self.slope == "log10-N" and self.number is None:
            raise ValueError("slope: log10-N needs N, the numbers of training images")
        if self.slope == "input-psnr" and self.sigma.take != "each":
            raise ValueError(f"slope: input-psnr uses all noise levels, so sigma takes 'each', not {self.sigma.take!r}")
        if self.slope == "log10-N" and self.number is not None and self.number.take != "each":
            raise ValueError(f"slope: log10-N uses all numbers of images, so N takes 'each', not {self.number.take!r}")


@dataclass(frozen=True)
class Condition:
    """A condition that a case must meet for a claim to apply to it.

    Parameters
    ----------
    quantity
        Either a measure of the case, for the entrants and datasets of the claim, or a fact about the case: the number
        of scored ``images`` (of their sources, if several images share a source), of ``seeds``, or of noise ``levels``;
        the range of the noise levels in ``decibels``; ``N``, the largest number of training images; the ``side`` of the
        images in pixels; or the number of training ``steps``.
    region
        The region in which the fact, or the whole interval of the measure, must lie.

    Examples
    --------
    >>> condition = Condition("images", Region(start=24))
    >>> condition.region.contains(20)
    False
    """

    quantity: Fact | Measure
    region: Region


@dataclass(frozen=True)
class ConditionFields(_Fields):
    """The fields of a condition in a file: either a fact or a measure, and its region."""

    region: Region
    fact: Fact | None = None
    measure: Measure | None = None

    def __post_init__(self) -> None:
        if (self.fact is None) == (self.measure is None):
            raise ValueError("a condition needs either a fact or a measure, not both")


@functools.cache
def _condition_adapter() -> TypeAdapter[ConditionFields]:
    return TypeAdapter(ConditionFields)


def _as_condition(value: Any) -> Any:
    if isinstance(value, Condition):
        return value
    fields = _condition_adapter().validate_python(value)
    return Condition(fields.fact or fields.measure or "images", fields.region)


@dataclass(frozen=True)
class Claim(_Fields):
    """A statement of a publication, and the measure and region by which gahbench decides on it.

    Parameters
    ----------
    id
        The name of the claim, of letters, digits and hyphens, unique within its paper.
    paper
        The publication.
    location
        The figure, table or section of the paper.
    checked
        The source that the statement and numbers were compared with: ``text``, ``abstract`` or ``code`` of the paper;
        or ``unverified``. Unverified claims are listed separately and not counted.
    statement
        The claim in a sentence.
    measure
        The measured quantity.
    region
        The claim holds if the whole interval of the measure lies in the region, and fails if no part of it does.
    suite
        The smallest suite that tests the claim: the name of a shipped suite, or the content of a suite file.
    full_scale
        The suite at the scale of the publication, given like ``suite``; ``None`` if ``suite`` has that scale.
    requires
        The conditions; a case that does not meet all of them is not measured.
    published
        The published measurement and its data.
    reading
        How the query differs from the published measurement, and the consequences.
    missing
        The quantity of the claim that gahbench cannot measure yet; empty if it can measure all.

    Raises
    ------
    ValueError
        If the id is not accepted, or a required text is empty.

    Examples
    --------
    >>> import gahbench
    >>> claims = gahbench.create("claim", "miyasawa-1961")
    >>> claims[0].checked in ("text", "abstract", "code", "unverified")
    True
    """

    id: str
    paper: Citation
    location: str
    checked: Checked
    statement: _Line
    measure: Measure
    region: Region
    suite: str | Mapping[str, Any]
    full_scale: str | Mapping[str, Any] | None = None
    requires: tuple[Annotated[Condition, BeforeValidator(_as_condition)], ...] = ()
    published: _Line = ""
    reading: _Line = ""
    missing: _Line = ""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"id={self.id!r}: letters, digits and single hyphens are accepted")
        if not (self.statement.strip() and self.location.strip()):
            raise ValueError(f"claim {self.id}: 'statement' and 'location' must not be empty")
        if self.checked not in CHECKED:
            raise ValueError(f"claim {self.id}: checked={self.checked!r}; accepted: {listing(CHECKED)}")

    @property
    def source(self) -> str:
        """The paper, the location in it, and the source that the statement was compared with."""
        return f"{self.paper}, {self.location} ({CHECKED[self.checked]})"
