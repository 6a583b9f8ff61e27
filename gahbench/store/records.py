"""Types of the JSON records in a results folder, against which its files are checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, Required

from pydantic import Field

# Before Python 3.12, pydantic does not support ``typing.TypedDict``.
from typing_extensions import TypedDict

from gahbench._util.checks import Count, Digest, FileName, InnerPath, Number, check_record
from gahbench.contracts.datasets import Split
from gahbench.contracts.denoisers import DenoiserKind
from gahbench.contracts.unit import Unit


class PluginRecord(TypedDict):
    """A plugin in the payload of a unit."""

    name: str
    parameters: dict[str, Any]
    identity: str
    label: str
    origins: list[str]


class PayloadRecord(TypedDict, total=False):
    """The data that a worker needs to run a unit."""

    dataset: PluginRecord
    entrant: PluginRecord
    metric: PluginRecord
    training: dict[str, Any]
    seed: Count
    split: str
    images: Count
    sigmas: list[Number]
    noise_seed: int
    noise: list[Any] | None
    learned_from: dict[str, Any] | None
    partner_learned_from: dict[str, Any] | None
    sampling: dict[str, Any]
    jacobian_precision: str


class DocumentRecord(TypedDict, total=False):
    """The fields of the document of a unit that are read from disk."""

    training: dict[str, Any]


class UnitRecord(TypedDict):
    """The fields of a unit."""

    kind: Literal["fit", "score"]
    key: FileName
    dataset: str
    entrant: str
    entrant_kind: Literal["architecture", "reference"]
    seed: Count | None
    split: Split | None
    metric: str | None
    requires: FileName | None
    partner: FileName | None
    payload: PayloadRecord
    document: DocumentRecord | None


class PlannedRecord(UnitRecord):
    """A unit in a plan, and its planned work (``None`` if infinite)."""

    work: Number | None
    shown: NotRequired[bool]


class _DatasetRow(TypedDict):
    dataset: str
    optimum: str
    slope: Number | None
    channels: Count
    height: Count
    width: Count
    fingerprint: str
    sources: str
    protocol: str
    notes: str
    spec: str


class _MetricRow(TypedDict):
    metric: str
    title: str
    null: str


class _RatioRow(TypedDict):
    metric: str
    numerator: str
    denominator: str


class _CitationRow(TypedDict):
    entry: str
    plugin: str
    authors: str
    title: str
    year: Count
    journal: str
    conference: str
    publisher: str
    arxiv: str
    doi: str


class BoardRecord(TypedDict):
    """The facts about datasets, metrics and entrants that the board of a plan shows."""

    baseline: str | None
    entrants: list[str]
    datasets: list[_DatasetRow]
    metrics: list[_MetricRow]
    ratios: list[_RatioRow]
    citations: list[_CitationRow]
    needs: dict[str, list[str]]
    trainings: dict[str, str]
    #: Dataset, row, and the reason why the row refuses the dataset.
    refused: list[Annotated[list[str], Field(min_length=3, max_length=3)]]


class PlanRecord(TypedDict):
    """The plan of a results folder."""

    suite: str
    threads: Annotated[int, Field(gt=0, lt=2**16)] | None
    plugins: list[InnerPath]
    board: BoardRecord
    suite_text: str
    changes: list[str]
    units: list[PlannedRecord]


class FileRecord(TypedDict):
    """The size and checksum of a file of a finished unit."""

    bytes: Count
    sha256: Digest


class _Checks(TypedDict):
    version: Count
    images: str


class _Cost(TypedDict, total=False):
    seconds: Number
    multiply_adds: Number


class _Environment(TypedDict):
    threads: NotRequired[Count | None]
    device: NotRequired[str]
    processor: NotRequired[str]


class DoneRecord(TypedDict, total=False):
    """The fields of ``done.json`` of a finished unit that are read from disk."""

    files: Required[dict[FileName, FileRecord]]
    notes: list[str]
    flags: list[str]
    resumed: bool
    checks: _Checks
    cost: _Cost
    parameters: Count | None
    seconds: Number
    train_seconds: Number
    environment: _Environment
    networks: dict[str, Digest | None]


class FitRecord(TypedDict):
    """The facts about a finished fit that a board shows."""

    parameters: Count
    train_seconds: Number
    steps: Count
    device: str
    precision: str
    compiled: bool
    budget: str


class ScoreRecord(TypedDict):
    """The facts about a finished score that a board shows."""

    kind: DenoiserKind


def unit_of(record: Any) -> Unit:
    """Return the unit that a record describes."""
    check_record(UnitRecord, record, "a unit")
    check_metric(record)
    return Unit.from_record(record)


def check_metric(record: Mapping[str, Any]) -> None:
    """Raise an error for the record of a score without a metric, or of a fit with a metric."""
    if (record["kind"] == "score") != (record["metric"] is not None):
        raise ValueError("the field 'metric' of a unit must be null for a fit, and a string for a score")
