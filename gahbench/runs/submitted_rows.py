"""Reading of submissions: folders and archives with rows of a board, and whether these rows are verified."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

# Before Python 3.12, pydantic does not support ``typing.TypedDict``.
from typing_extensions import TypedDict

from gahbench._util.checks import Digest, check_record
from gahbench._util.errors import ResultsError, listing
from gahbench._util.files import names_in, read_regular, write_json
from gahbench._util.sealed import parse_json
from gahbench.board.combined import combine, part_label
from gahbench.board.results import INDEX, Results, load_results
from gahbench.board.tables import SCHEMAS
from gahbench.runs.collect import results_so_far
from gahbench.store.archive import is_archive, unpacked
from gahbench.store.plan_file import PLAN, short_names

if TYPE_CHECKING:
    from gahbench.registry.registry import Registry

#: The file in a folder of submissions that records which of them maintainers have verified.
VERIFIED = "verified.json"
SUBMITTED = "submitted: not repeated by the maintainers"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")


class _Verified(TypedDict):
    results: Digest
    method: str
    date: str


def require_name(name: str) -> str:
    """Return the name of a submission; raise an error if it is not accepted as the name of a folder."""
    if not _NAME.fullmatch(name):
        raise ResultsError(f"'{name}' cannot name a submission; accepted: up to 61 of a-z, 0-9 and '-'")
    return name


def find_submissions(path: Path) -> list[Path]:
    """Return the results folders and archives in a folder of submissions, or the path itself if it is one of them."""
    if not path.is_dir() or (path / INDEX).is_file() or (path / PLAN).is_file():
        return [path]
    children = [path / name for name in sorted(names_in(path))]
    submissions = [child for child in children if is_archive(child) or (child / INDEX).is_file()]
    return submissions if submissions or (path / VERIFIED).is_file() else [path]


def is_single_folder(path: Path) -> bool:
    """Return whether a path is one results folder whose rows need no status."""
    return find_submissions(path) == [path] and not is_archive(path) and not _status_file(path).is_file()


@contextlib.contextmanager
def open_folder(path: Path) -> Iterator[Path]:
    """Yield a results folder, or the folder to which an archive is unpacked."""
    if is_archive(path):
        with unpacked(path) as folder:
            yield folder
    else:
        yield path


def load_rows(paths: Sequence[Path], registry: Registry | None = None) -> tuple[Results, dict[Path, int]]:
    """Return the results of folders, archives and folders of submissions, and the number of unfinished units of each.

    Labels and notes of submitted rows say whether the rows are verified.
    """
    parts: dict[str, Results] = {}
    unfinished: dict[Path, int] = {}
    sources = [source for path in paths for source in find_submissions(path)]
    if not sources:
        raise ResultsError(f"{listing(map(str, paths))}: holds no submissions")
    for name, path in zip(short_names(sources), sources, strict=True):
        with open_folder(path) as folder:
            results, unfinished[path] = results_so_far(folder) or (load_results(folder, registry), 0)
            parts[name] = _with_status(results, path, folder)
    return next(iter(parts.values())) if len(parts) == 1 else combine(parts), unfinished


def _with_status(results: Results, path: Path, folder: Path) -> Results:
    """Return the results of a submission with its status in labels and notes; return other results as they are."""
    status = _status(path, folder)
    if not status:
        return results
    import pandas as pd

    word = status.partition(":")[0]
    new_labels = {label: part_label(label, word) for label in results.entrants if label != results.baseline}
    tables = {name: getattr(results, name).copy() for name in SCHEMAS}
    for table in tables.values():
        for column in {"entrant", "entry"} & set(table.columns):
            table[column] = [new_labels.get(label, label) for label in table[column]]
    pairs = tables["scores"][["dataset", "entrant"]].drop_duplicates()
    rows = pairs[pairs["entrant"].isin(new_labels.values())].assign(note=status)
    tables["notes"] = pd.concat([tables["notes"], rows], ignore_index=True)
    return replace(results, **tables, entrants=[new_labels.get(label, label) for label in results.entrants])


def _status(path: Path, folder: Path) -> str:
    """Return the status of a submission; an empty string for a folder that is not in a folder of submissions."""
    file = _status_file(path)
    if not file.is_file():
        return SUBMITTED if is_archive(path) else ""
    entry = _read(file).get(path.stem if is_archive(path) else path.absolute().name)
    if entry is None or entry["results"] != _digest(folder):
        return SUBMITTED
    return f"verified: {entry['method']} ({entry['date']})"


def _status_file(path: Path) -> Path:
    return path.absolute().parent / VERIFIED


def record_status(folder: Path, method: str) -> None:
    """Record the method by which a submission was verified, next to its folder; remove the record without a method."""
    file = _status_file(folder)
    entries = _read(file) if file.is_file() else {}
    entries.pop(folder.name, None)
    if method:
        date = time.strftime("%Y-%m-%d", time.gmtime())
        entries[folder.name] = {"results": _digest(folder), "method": method, "date": date}
    write_json(file, dict(sorted(entries.items())))


def _read(file: Path) -> dict[str, _Verified]:
    try:
        entries = parse_json(read_regular(file))
        check_record(dict[str, _Verified], entries, VERIFIED)
    except (OSError, ValueError) as error:
        raise ResultsError(f"{file}: cannot be read as a list of verified submissions ({error})") from error
    return dict(entries)


def _digest(folder: Path) -> str:
    """Return the SHA-256 of the index of a board, which holds the checksum of the scores."""
    return hashlib.sha256(read_regular(folder / INDEX)).hexdigest()
