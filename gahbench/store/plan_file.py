"""The file ``plan.json`` of a results folder, with its units and the facts of its board, and copies of plugin files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError, listing
from gahbench._util.files import names_in, read_regular, write_atomically
from gahbench._util.records import Count, InnerPath, canonical, check_record, key_of, parse_sealed, seal
from gahbench.contracts.unit import Unit
from gahbench.planning.suite_files import SuiteVersion, suite_version
from gahbench.registry.registry import source_files

if TYPE_CHECKING:
    from gahbench.planning.plan import Plan

PLAN = "plan.json"
#: Maximum number of bytes of the file; the file of a plan of 200,000 units has 150 million.
MAX_BYTES = 2**30
#: The fields of a unit whose values are shared by many units, and are stored once.
_SHARED = ("payload", "document")


@dataclass(frozen=True)
class RecordedPlan:
    """The recorded plan of a results folder.

    ``board`` holds the facts that the board shows, as plain JSON; ``threads`` the threads of each row, if known;
    ``plugins`` the paths of the copied plugin files in the folder; ``changes`` command-line options that changed the
    suite, whose file has the content ``suite_text``.
    """

    suite: str
    units: tuple[Unit, ...]
    board: Mapping[str, Any]
    threads: Count | None = None
    plugins: tuple[InnerPath, ...] = ()
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


def record_plan(
    folder: Path, plan: Plan, plugins: Sequence[Path], threads: int | None = None, workers: int | None = None
) -> RecordedPlan:
    """Record a plan in its folder, with copies of plugin files.

    ``threads`` is the number of threads of each row: by default the recorded number, or a number suggested for
    ``workers`` rows at a time.
    """
    recorded = read_plan(folder, plan.suite.name)
    threads = threads or (recorded and recorded.threads) or plan.suggested_threads(workers)
    copies, suite = copy_plugins(plugins, folder), plan.suite
    new = RecordedPlan(suite.name, plan.units, plan.board, threads, copies, suite.text, suite.changes)
    write_plan(folder, new)
    return new


def write_plan(folder: Path, plan: RecordedPlan) -> None:
    """Write the plan of a folder, unless the file is up to date: one line for each unit, and each shared value once."""
    #: The index of each shared value, by its JSON text.
    texts: dict[str, int] = {}

    def index_of(value: Any) -> int:
        return texts.setdefault(canonical(value), len(texts))

    lines = []
    for unit in plan.units:
        record = unit.record() | {"work": unit.work}
        for name in _SHARED:
            record[name] = record[name] and {key: index_of(value) for key, value in record[name].items()}
        lines.append(json.dumps(record))
    facts = {field.name: getattr(plan, field.name) for field in fields(plan) if field.name != "units"}
    parts = [f'"{name}": {json.dumps(value)}' for name, value in facts.items()]
    parts += [f'"{name}": [\n' + ",\n".join(rows) + "\n]" for name, rows in (("values", texts), ("units", lines))]
    file, content = folder / PLAN, seal(("{\n" + ",\n".join(parts) + "\n}\n").encode())
    if not file.is_file() or file.read_bytes() != content:
        write_atomically(file, content)


def read_plan(folder: Path, suite: str | None = None) -> RecordedPlan | None:
    """Return the recorded plan of a folder, of a suite if given; ``None`` if the folder is absent or empty."""
    file, advice = folder / PLAN, f"give another folder, and '--reuse {folder}' to take its finished units"
    try:
        parsed = parse_sealed(read_regular(file, MAX_BYTES))
        for record in parsed["units"]:
            for name in _SHARED:
                indices = record[name]
                record[name] = indices and {key: parsed["values"][index] for key, index in indices.items()}
        plan: RecordedPlan = check_record(RecordedPlan, parsed, "a plan")
    except FileNotFoundError:
        if names := names_in(folder):
            raise ResultsError(
                f"{folder}: not a results folder (it holds {names[0]} but no {PLAN}); give a new or empty one"
            ) from None
        return None
    except (OSError, LookupError, TypeError, AttributeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ResultsError(f"{file}: cannot be read as a plan of gahbench ({reason}); {advice}") from error
    if suite not in (None, plan.suite):
        raise ResultsError(f"{folder}: holds results of the suite '{plan.suite}', not '{suite}'; {advice}")
    return plan


def require_plan(folder: Path) -> RecordedPlan:
    """Return the recorded plan of a results folder; raise an error if it has none."""
    plan = read_plan(folder)
    if plan is None:
        raise ResultsError(f"{folder}: no {PLAN}; expected a results folder")
    return plan


def short_names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths of folders that distinguish them."""
    parts = [folder.absolute().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise ResultsError(f"{listing(map(str, folders))}: a folder is given twice")


def copy_plugins(plugins: Sequence[Path], folder: Path) -> tuple[str, ...]:
    """Copy plugin files, and the neighbouring files that they import, into a results folder; return their paths."""
    copied: list[str] = []
    # Files of one folder stay together, since they may share neighbours.
    for home in dict.fromkeys(file.parent for file in plugins):
        files = [file for file in plugins if file.parent == home]
        paths = [path for file in files for path in source_files(file).values()]
        members = {path.relative_to(home).as_posix(): path.read_bytes() for path in paths if path.is_relative_to(home)}
        target = f"plugins/{key_of(members)[:8]}"
        for name, content in members.items():
            write_atomically(folder / target / name, content)
        copied += [f"{target}/{file.name}" for file in files]
    return tuple(copied)
