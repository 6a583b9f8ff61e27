"""The file ``plan.json`` of a results folder: its units, and the facts that its board shows."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from gahbench._util.checks import check_record
from gahbench._util.errors import ResultsError, listing
from gahbench._util.files import read_regular, write_atomically
from gahbench._util.keys import canonical
from gahbench._util.sealed import parse_sealed, seal
from gahbench.contracts.engines import Limits
from gahbench.contracts.unit import Unit
from gahbench.planning.suite_version import SuiteVersion, suite_version
from gahbench.store.records import PlanRecord, check_metric

PLAN = "plan.json"
#: The fields of a unit whose values are shared by many units, and are stored once.
_SHARED = ("payload", "document")


@dataclass(frozen=True)
class RecordedPlan:
    """The recorded plan of a results folder.

    Attributes
    ----------
    suite
        Name of the suite.
    units
        Planned units, which the board shows.
    board
        Facts that the board shows, as plain JSON.
    threads
        Threads of each worker; ``None`` if unknown.
    plugins
        Paths of the copied plugin files, relative to the folder.
    code
        SHA-256 of each file of code, by name.
    limits
        Time limits of the suite.
    suite_text
        Content of the suite file.
    changes
        Command-line options that changed the suite.
    """

    suite: str
    units: tuple[Unit, ...]
    board: Mapping[str, Any]
    threads: int | None = None
    plugins: tuple[str, ...] = ()
    code: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    suite_text: str = ""
    changes: tuple[str, ...] = ()

    @property
    def dataset_specs(self) -> dict[str, str]:
        """The spec of each dataset of the plan, by its label."""
        return {row["dataset"]: row["spec"] for row in self.board["datasets"]}

    @cached_property
    def version(self) -> SuiteVersion | None:
        """The version of the suite, if it is frozen and no option changed its settings."""
        return suite_version(self.suite_text, self.changes)


def write_plan(folder: Path, plan: RecordedPlan) -> None:
    """Write the plan of a folder, unless the file is up to date: one line for each unit, and each shared value once."""
    #: The index of each shared value, by its JSON text.
    texts: dict[str, int] = {}

    def index_of(value: Any) -> int:
        return texts.setdefault(canonical(value), len(texts))

    lines = []
    for unit in plan.units:
        record = unit.record()
        for name in _SHARED:
            record[name] = record[name] and {key: index_of(value) for key, value in record[name].items()}
        lines.append(json.dumps({**record, "work": unit.work if unit.work < float("inf") else None}))
    names = ("suite", "threads", "plugins", "limits", "board", "code", "suite_text", "changes")
    head = {name: getattr(plan, name) for name in names} | {"limits": plan.limits.model_dump()}
    parts = [f'"{name}": {json.dumps(value)}' for name, value in head.items()]
    for name, rows in (("values", texts), ("units", lines)):
        parts.append(f'"{name}": [\n' + ",\n".join(rows) + "\n]")
    content = seal(("{\n" + ",\n".join(parts) + "\n}\n").encode())
    file = folder / PLAN
    if not file.is_file() or file.read_bytes() != content:
        write_atomically(file, content)


def read_plan(folder: Path) -> RecordedPlan | None:
    """Return the recorded plan of a folder; ``None`` if the folder is absent or empty."""
    file = folder / PLAN
    advice = f"give another results folder; '--reuse {folder}' takes the finished units of this one"
    try:
        content = read_regular(file)
    except FileNotFoundError:
        if folder.is_dir() and (names := [child.name for child in folder.iterdir() if not child.name.startswith(".")]):
            raise ResultsError(
                f"{folder}: not a results folder (it holds {names[0]} but no {PLAN}); give a new or empty one"
            ) from None
        return None
    except NotADirectoryError as error:
        raise ResultsError(f"{folder}: is a file; give a results folder, or a path that does not exist yet") from error
    except OSError as error:
        raise ResultsError(f"{file}: cannot be read ({error.strerror or error}); {advice}") from error
    with _suspend_garbage_collection():
        try:
            parsed = parse_sealed(content)
        except ValueError as error:
            raise ResultsError(f"{file}: cannot be read ({error}); {advice}") from error
        try:
            return _parse(parsed)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise ResultsError(f"{file}: not the plan of a gahbench suite ({error}); {advice}") from error


@contextlib.contextmanager
def _suspend_garbage_collection() -> Iterator[None]:
    """Suspend garbage collection, which takes a third of the time of reading a large plan and frees nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def require_plan(folder: Path) -> RecordedPlan:
    """Return the recorded plan of a results folder; raise an error if it has none."""
    plan = read_plan(folder)
    if plan is None:
        raise ResultsError(f"{folder}: no {PLAN}; expected a results folder")
    return plan


def _parse(content: dict[str, Any]) -> RecordedPlan:
    values = content["values"]
    for record in content["units"]:
        for name in _SHARED:
            record[name] = record[name] and {key: values[index] for key, index in record[name].items()}
    check_record(PlanRecord, content, "a plan")
    check_record(Limits, content["limits"], "the limits of a plan")
    units = []
    for record in content["units"]:
        check_metric(record)
        work = float("inf") if record["work"] is None else record["work"]
        if record.get("shown", True):  # Earlier versions kept units that their boards did not show.
            units.append(Unit.from_record(record, work))
    parsed: dict[str, Any] = {
        "units": tuple(units),
        "limits": Limits.model_validate(content["limits"]),
        **{name: tuple(content[name]) for name in ("plugins", "changes")},
    }
    names = (field.name for field in fields(RecordedPlan))
    return RecordedPlan(**{name: parsed.get(name, content[name]) for name in names})


def short_names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths of folders that distinguish them."""
    parts = [folder.absolute().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise ResultsError(f"{listing(map(str, folders))}: a folder is given twice")
