"""Claims: what a publication says of denoisers, as a quantity of the tidy table and the region where it must lie."""

from __future__ import annotations

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

Checked = Literal["text", "abstract", "code", "memory"]
#: The source that a statement and its numbers were compared with, in words.
CHECKED: dict[Checked, str] = {
    "text": "compared with the paper's text",
    "abstract": "compared with the paper's abstract",
    "code": "compared with the published code",
    "memory": "from memory",
}

Take = Literal["each", "mean", "lowest", "highest"]
Slope = Literal["input-psnr", "log10-N"]
Scale = Literal["linear", "log10"]
Fact = Literal["images", "seeds", "levels", "decibels", "N", "side", "steps"]

_ID = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
#: The names of fields in YAML files, where these differ.
FILE_NAMES = {"start": "from", "end": "to", "number": "N", "metrics": "metric"}


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str | int | float) else value


def _as_levels(value: Any) -> Any:
    if isinstance(value, str) and not value[:1].isdigit() and value[:1] != ".":
        return {"take": value}
    return {"at": value} if isinstance(value, str | int | float | list) else value


#: The types of fields, as files of claims give them.
_Number = Annotated[float, Field(strict=True), BeforeValidator(as_number)]
_Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
_SomeTexts = Annotated[_Texts, Field(min_length=1)]
_Line = Annotated[str, AfterValidator(lambda text: " ".join(text.split()))]


class _Fields:
    """Parts of a claim that are read from files."""

    __pydantic_config__ = ConfigDict(
        extra="forbid", allow_inf_nan=False, alias_generator=lambda name: FILE_NAMES.get(name, name)
    )


@dataclass(frozen=True)
class Region(_Fields):
    """The region in which a value must lie for a claim to hold: an interval, open or closed at each end.

    Parameters
    ----------
    start, end
        Ends that belong to the region; at most one of ``start`` and ``above``, and of ``end`` and ``below``. Without
        either end the region is unbounded on that side.
    above, below
        Ends that do not belong to the region.

    Raises
    ------
    ValueError
        If the region is empty or unbounded, or has two ends on a side.

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
        given = [value for value in (self.start, self.end, self.above, self.below) if value is not None]
        if not given or not all(map(math.isfinite, given)):
            raise ValueError(
                f"a region has a finite end on one side at least, of from, to, above and below, not {given}"
            )
        if (self.start is not None and self.above is not None) or (self.end is not None and self.below is not None):
            raise ValueError("a region has one end on a side: from or above, and to or below")
        if self.low > self.high or (self.low == self.high and (self.above is not None or self.below is not None)):
            raise ValueError(f"a region holds a value at least, and this one is empty: {self}")

    @property
    def low(self) -> float:
        """The lower end; minus infinity if there is none."""
        end = self.start if self.start is not None else self.above
        return -math.inf if end is None else end

    @property
    def high(self) -> float:
        """The upper end; infinity if there is none."""
        end = self.end if self.end is not None else self.below
        return math.inf if end is None else end

    def contains(self, value: float) -> bool:
        """Whether a value lies in the region; NaN does not."""
        above = value >= self.low if self.above is None else value > self.low
        below = value <= self.high if self.below is None else value < self.high
        return above and below

    def outcome(self, low: float, high: float) -> Outcome:
        """Return ``holds`` for an interval inside, ``fails`` outside, else (and for NaN) ``undecided``."""
        if math.isnan(low) or math.isnan(high) or low > high:
            return "undecided"
        if self.contains(low) and self.contains(high):
            return "holds"
        below = high < self.low or (high == self.low and self.above is not None)
        above = low > self.high or (low == self.high and self.below is not None)
        return "fails" if below or above else "undecided"

    def distance(self, value: float) -> float:
        """Return how far a value is from the nearest end, negative outside."""
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
        ``each``: the claim is about each level at once; ``mean``; or the ``lowest`` or ``highest`` level alone.
    at
        These levels, each of which must have been measured, to 5 %; by default all measured levels.
    start, end
        The levels from ``start`` to ``end``, both included.
    """

    take: Take = "each"
    at: Annotated[tuple[_Number, ...], BeforeValidator(_as_tuple)] = ()
    start: _Number = 0.0
    end: _Number = math.inf

    def __post_init__(self) -> None:
        if self.take not in get_args(Take):
            raise ValueError(f"take={self.take!r}; accepted: {listing(get_args(Take))}")
        if not all(level > 0 for level in self.at) or self.start > self.end:
            raise ValueError(f"levels are above 0, in a range that is not empty, not {self}")

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
    """The measure that a value is compared with, by the fields in which it differs from the value's measure.

    Parameters
    ----------
    metrics
        Names in the tidy table, or patterns; the claim is about the comparison with each.
    entrant
        A label, or a pattern. Each entrant that matches is compared; in a sweep, at the same number of images.
    dataset
        The label of a dataset, in which ``{dataset}`` stands for the dataset of the value.
    split
        The split.
    number
        Numbers of training images.
    """

    metrics: _Texts = ()
    entrant: str = ""
    dataset: str = ""
    split: str = ""
    number: _Levels | None = None

    def __post_init__(self) -> None:
        if not (self.metrics or self.entrant or self.dataset or self.split or self.number):
            raise ValueError("a comparison differs in one of metric, entrant, dataset, split, N")


@dataclass(frozen=True)
class Measure(_Fields):
    """A query on the tidy table: means over images and seeds, perhaps compared with others, and reduced.

    Parameters
    ----------
    metric
        A name in the tidy table, ``spectrum.above-half``, a ratio that a metric defines, ``self-consistency``, or
        ``deficit``, the distance from the optimum in dB. ``*`` stands for any characters, as in
        ``direction[graph-laplacian*]``.
    entrants, datasets
        Labels, names before the brackets, or patterns. Each pair that matches is a case of its own.
    without
        Entrants that are left out.
    split
        The split.
    sigma
        Noise levels, where the metric has any.
    number
        Numbers of training images: rows of a sweep. By default rows outside sweeps.
    minus, over
        The measure that is subtracted, or divided by; not both.
    scale
        ``log10`` of every value, of which means are then taken: for values above 0 whose order of magnitude matters,
        such as times. With ``over`` it is the difference of two logarithms.
    slope
        The slope against ``input-psnr`` (-20 log10 sigma), over the noise levels, or against ``log10-N``, over the
        numbers of training images, in place of ``take``.

    Raises
    ------
    ValueError
        If fields contradict each other.
    """

    metric: str
    entrants: _SomeTexts = ("*",)
    datasets: _SomeTexts = ("*",)
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
            raise ValueError("a measure names a metric, entrants and datasets")
        for name in (self.metric, *(one for other in (self.minus, self.over) if other for one in other.metrics)):
            if name.count("[") != name.count("]"):
                raise ValueError(f"metric: brackets of {name!r} are not closed; a pattern closes them: distance[pspc*]")
        if self.minus is not None and self.over is not None:
            raise ValueError("a measure has minus or over, not both")
        if self.minus is not None and self.scale == "log10":
            raise ValueError("scale: log10 is of values and of what they are over, not of differences")
        if self.slope == "log10-N" and self.number is None:
            raise ValueError("a slope against log10-N needs numbers of training images: N")
        if self.slope == "input-psnr" and self.sigma.take != "each":
            raise ValueError(f"a slope over noise levels takes each of them, not {self.sigma.take}")
        if self.slope == "log10-N" and self.number is not None and self.number.take != "each":
            raise ValueError(f"a slope over numbers of images takes each of them, not {self.number.take}")


@dataclass(frozen=True)
class Condition:
    """A condition that a case must meet for a claim to be about it.

    Parameters
    ----------
    of
        A fact: ``images`` that are scored, or the sources that several of them are from, ``seeds``, noise ``levels``
        used, ``decibels`` between the least and the largest of them, ``N``, the largest number of training images used,
        ``side`` of the images in pixels, ``steps`` of training; or a measure of the case, whose entrants and datasets
        are those of the claim.
    region
        The region of the fact, or of the whole interval of the measure.
    """

    of: Fact | Measure
    region: Region


@dataclass(frozen=True)
class ConditionFields(_Fields):
    """The fields of a condition in a file: a fact, or a measure, and its region."""

    region: Region
    fact: Fact | None = None
    measure: Measure | None = None

    def __post_init__(self) -> None:
        if (self.fact is None) == (self.measure is None):
            raise ValueError("a condition has either a fact or a measure")


def _as_condition(value: Any) -> Any:
    if isinstance(value, Condition):
        return value
    fields = TypeAdapter(ConditionFields).validate_python(value)
    return Condition(fields.fact or fields.measure or "images", fields.region)


@dataclass(frozen=True)
class Claim(_Fields):
    """A statement of a publication, and how gahbench decides on it.

    Parameters
    ----------
    id
        Letters, digits and hyphens, unique within its paper.
    paper
        The publication.
    place
        The figure, table or section.
    checked
        The source that the statement and numbers were compared with: ``text``, ``abstract``, ``code`` or ``memory``.
    statement
        The claim in a sentence.
    measure, region
        The claim holds where the whole interval of the measure lies in the region, and fails where none of it does.
    suite
        The smallest suite that tests it: the name of a shipped suite, or the content of a suite file.
    full_scale
        The suite at the size of the publication, likewise; ``None`` if ``suite`` is of that size.
    requires
        Conditions; a case that does not meet them is not measured.
    published
        The published measurement and its data.
    reading
        How the query differs from the published measurement, and the consequences.
    missing
        The quantity that gahbench cannot measure yet; empty if it can measure the claim.

    Raises
    ------
    ValueError
        If the id is not accepted, or a text is missing.
    """

    id: str
    paper: Citation
    place: str
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
        if not (self.statement.strip() and self.place.strip()):
            raise ValueError(f"claim {self.id}: a statement, and its place in the paper, are expected")
        if self.checked not in CHECKED:
            raise ValueError(f"claim {self.id}: checked={self.checked!r}; accepted: {listing(CHECKED)}")

    @property
    def source(self) -> str:
        """The paper, the place in it, and the source that the statement was compared with."""
        return f"{self.paper}, {self.place} ({CHECKED[self.checked]})"
