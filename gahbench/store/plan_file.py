"""The plan that a results folder records: its units, and what their board shows."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from gahbench._util.checks import (
    Check,
    is_count,
    is_digest,
    is_inside,
    is_number,
    is_object,
    is_text,
    list_of,
    object_of,
    optional,
    record_of,
    wrong_field,
)
from gahbench._util.errors import ResultsError
from gahbench._util.files import read_regular, write_whole
from gahbench._util.keys import canonical
from gahbench._util.sealed import parse_sealed, sealed
from gahbench.contracts.limits import Limits
from gahbench.contracts.unit import Unit
from gahbench.store.unit_record import Record, unit_records

PLAN = "plan.json"
#: The fields of a unit whose values many units share.
_SHARED = ("payload", "document")


@dataclass(frozen=True)
class RecordedUnit:
    """A unit in the plan of a folder."""

    unit: Unit
    is_added: bool = False
    is_shown: bool = True


@dataclass(frozen=True)
class RecordedPlan:
    """The plan of a results folder."""

    suite: str
    units: tuple[RecordedUnit, ...]
    board: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None
    plugins: tuple[str, ...] = ()
    code: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    secret_noise: Mapping[str, Any] | None = None
    suite_text: str = ""
    changes: tuple[str, ...] = ()

    @property
    def facts(self) -> Mapping[str, Any]:
        """The facts for the board."""
        if not self.board:
            raise ResultsError(
                f"the plan of '{self.suite}' is of an earlier version, without the facts of its board; 'gahbench run' "
                "or 'gahbench plan --out' with its suite records them"
            )
        return self.board

    @property
    def shown(self) -> list[Unit]:
        """The units that the board shows."""
        return [recorded.unit for recorded in self.units if recorded.is_shown]


def write_plan(folder: Path, plan: RecordedPlan) -> None:
    """Write the plan of a folder, unless it is there already: a unit a line, and values that units share once."""
    values: dict[str, int] = {}
    texts: list[str] = []

    def place(value: Any) -> int:
        text = canonical(value)
        if text not in values:
            values[text] = len(texts)
            texts.append(text)
        return values[text]

    lines = []
    for recorded in plan.units:
        record = recorded.unit.record()
        for name in _SHARED:
            record[name] = record[name] and {key: place(value) for key, value in record[name].items()}
        work = recorded.unit.work
        record |= {"work": work if work < float("inf") else None}
        record |= {"added": recorded.is_added, "shown": recorded.is_shown}
        lines.append(json.dumps(record))
    head: dict[str, Any] = {"suite": plan.suite, "threads": plan.threads, "plugins": list(plan.plugins)}
    head |= {"limits": plan.limits.model_dump(), "board": plan.board, "code": plan.code}
    head |= {"suite_text": plan.suite_text, "changes": list(plan.changes)}
    if plan.secret_noise is not None:
        head["secret_noise"] = dict(plan.secret_noise)
    parts = [f'"{name}": {json.dumps(value)}' for name, value in head.items()]
    parts += [f'"values": [\n{_lines(texts)}\n]', f'"units": [\n{_lines(lines)}\n]']
    content = sealed(("{\n" + ",\n".join(parts) + "\n}\n").encode())
    file = folder / PLAN
    if not file.is_file() or file.read_bytes() != content:
        write_whole(file, content)


def read_plan(folder: Path) -> RecordedPlan | None:
    """Return the plan of a folder; ``None`` for one that is new or empty."""
    file = folder / PLAN
    other = f"give another results folder; '--reuse {folder}' takes what is done in this one"
    try:
        content = read_regular(file)
    except FileNotFoundError:
        if folder.is_dir() and (others := [child.name for child in folder.iterdir() if not child.name.startswith(".")]):
            raise ResultsError(
                f"{folder}: not a results folder (it holds {others[0]} but no {PLAN}); give a new or empty one"
            ) from None
        return None
    except NotADirectoryError as error:
        raise ResultsError(f"{folder}: a file; give a results folder, or a path at which there is none yet") from error
    except OSError as error:
        raise ResultsError(f"{file}: cannot be read ({error.strerror or error}); {other}") from error
    with _no_garbage_collection():
        return _plan_of(content, file, other)


def _plan_of(content: bytes, file: Path, other: str) -> RecordedPlan:
    try:
        parsed = parse_sealed(content)
    except ValueError as error:
        raise ResultsError(f"{file}: cannot be read ({error}); {other}") from error
    try:
        return _parsed(parsed)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ResultsError(f"{file}: not the plan of a gahbench suite ({error}); {other}") from error


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Suspend garbage collection: among the objects of a large plan, which all stay, it takes a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def recorded_plan(folder: Path) -> RecordedPlan:
    """Return the plan of a results folder."""
    plan = read_plan(folder)
    if plan is None:
        raise ResultsError(f"{folder}: no {PLAN}; expected a results folder")
    return plan


def _parsed(content: dict[str, Any]) -> RecordedPlan:
    head: dict[str, Any] = {"suite": None, "board": {}, "threads": None, "plugins": [], "code": {}}
    head |= {"limits": {}, "secret_noise": None, "suite_text": "", "changes": []} | content
    later: dict[str, Any] = {"trainings": {}, "refused": [], "ratios": [], "citations": []}
    if wrong := wrong_field(head, _HEAD) or (head["board"] and wrong_field(later | head["board"], _BOARD | _LATER)):
        raise ValueError(f"the field '{wrong}' is missing, or not what it can be")
    if not isinstance(content.get("units"), list):
        raise ValueError("it has no list of units")
    records = unit_records(content["units"])
    # Folders of before values were shared hold them in place.
    if (values := content.get("values")) is not None:
        _put_in_place(records, values)
    _check_values(records)
    return RecordedPlan(
        head["suite"],
        tuple(map(_recorded, records)),
        head["board"],
        head["threads"],
        tuple(head["plugins"]),
        head["code"],
        Limits.model_validate(head["limits"]),
        head["secret_noise"],
        head["suite_text"],
        tuple(head["changes"]),
    )


def _put_in_place(records: list[Record], values: list[Any]) -> None:
    for record in records:
        record["payload"] = {name: values[place] for name, place in record["payload"].items()}
        if (document := record.get("document")) is not None:
            record["document"] = {name: values[place] for name, place in document.items()}


def _check_values(records: list[Record]) -> None:
    """Check the values in payloads and documents, each once: many units share one."""
    for part, checks in (("payload", _PAYLOAD), ("document", _DOCUMENT)):
        parts = (cast(dict[str, Any], record).get(part) or {} for record in records)
        values = {(name, id(fields[name])): fields[name] for fields in parts for name in checks if name in fields}
        for (name, _), value in values.items():
            if not checks[name](value):
                raise ValueError(f"the field '{name}' in the {part} of a unit is not what it can be")


def _recorded(record: Record) -> RecordedUnit:
    fields = cast(dict[str, Any], record)
    work, is_added, is_shown = fields.pop("work", 0.0), fields.pop("added"), fields.pop("shown", True)
    return RecordedUnit(Unit(work=float("inf") if work is None else work, **fields), is_added, is_shown)


_DATASET = {"dataset": is_text, "optimum": is_text, "slope": optional(is_number), "fingerprint": is_text}
_DATASET |= {"channels": is_count, "height": is_count, "width": is_count}
_BOARD = {
    "baseline": optional(is_text),
    "entrants": list_of(is_text),
    "datasets": list_of(record_of(**_DATASET)),
    "metrics": list_of(record_of(metric=is_text, title=is_text, null=is_text)),
    "needs": object_of(list_of(is_text)),
}
_CITATION = dict.fromkeys(
    ("entry", "plugin", "authors", "title", "journal", "conference", "publisher", "arxiv", "doi"), is_text
) | {"year": is_count}
#: Absent from earlier plans.
_LATER = {
    "trainings": object_of(is_text),
    "refused": list_of(lambda value: list_of(is_text)(value) and len(value) == 3),
    "ratios": list_of(record_of(metric=is_text, numerator=is_text, denominator=is_text)),
    "citations": list_of(record_of(**_CITATION)),
}
_NOISE = {"seed": optional(is_count), "references": list_of(is_text)}
_DRAWN = {"drawn": is_text, "fits": object_of(optional(is_digest))}


def _is_secret_noise(value: Any) -> bool:
    return record_of(**_NOISE)(value) and (value["seed"] is None or record_of(**_DRAWN)(value))


_HEAD = {
    "suite": is_text,
    "board": is_object,
    "threads": optional(lambda value: is_count(value) and 0 < value < 2**16),
    "plugins": list_of(is_inside),
    "code": object_of(is_text),
    "limits": is_object,
    "suite_text": is_text,
    "changes": list_of(is_text),
    "secret_noise": optional(_is_secret_noise),
}


def _is_plugin(value: Any) -> bool:
    # Earlier plans have neither labels nor origins.
    return is_object(value) and wrong_field({"label": "", "origins": []} | value, _PLUGIN) is None


_PLUGIN = {"name": is_text, "parameters": is_object, "identity": is_text, "label": is_text, "origins": list_of(is_text)}
_PAYLOAD: dict[str, Check] = {
    "dataset": _is_plugin,
    "entrant": _is_plugin,
    "metric": _is_plugin,
    "training": is_object,
    "seed": is_count,
    "split": is_text,
    "images": is_count,
    "sigmas": list_of(is_number),
    "noise_seed": lambda value: type(value) is int,
    "learned_from": optional(is_object),
    "partner_learned_from": optional(is_object),
    "sampling": is_object,
    "jacobian_precision": is_text,
}
_DOCUMENT: dict[str, Check] = {"training": is_object}


def _lines(items: Iterable[str]) -> str:
    return ",\n".join(items)
