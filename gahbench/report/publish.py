"""Published folders of results: tables, board, figures and pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gahbench._util.errors import ResultsError
from gahbench._util.files import delete_file, write_atomically
from gahbench._util.records import seal
from gahbench.board.results import BOARD, FORMAT, INDEX, SCORES, VERSION, Results, index_or_none, saved_files
from gahbench.board.tables import SCHEMAS, to_records
from gahbench.report import figures
from gahbench.report.pictures import FOLDER as PICTURES
from gahbench.report.pictures import METRICS, Sheet
from gahbench.report.text import markdown

#: The table of means over datasets, which exists if there are enough datasets.
OVERALL = "over_datasets.csv"
#: The folders whose files belong to the board, and are deleted if the board no longer has them.
_REPLACED = ("figures", PICTURES)


def publish(results: Results, folder: Path, digest: str, sheets: Sequence[Sheet] = ()) -> None:
    """Write the results, the board, the figures and sheets of pictures into a folder, each file atomically."""
    for name in _REPLACED:
        if (folder / name).is_symlink():
            raise ResultsError(f"{folder / name}: is a link; expected a folder, whose files are replaced")
    previous_index = index_or_none(folder)
    scores = results.parquet()
    files = {
        SCORES: scores,
        "leaderboard.csv": results.leaderboard(full=True).to_csv(index=False, lineterminator="\n").encode(),
        BOARD: markdown(results).encode(),
    }
    overall = results.over_datasets()
    if not overall.empty:
        files[OVERALL] = overall.to_csv(index=False, lineterminator="\n").encode()
    files |= {f"figures/{name}": content for name, content in figures.render_figures(results)}
    files |= {sheet.name: sheet.content for sheet in sheets}
    for name, content in files.items():
        write_atomically(folder / name, content)
    index = {
        "format": FORMAT,
        "version": VERSION,
        "suite": results.suite,
        "suite_version": None if results.version is None else asdict(results.version),
        "digest": digest,
        "baseline": results.baseline,
        "entrants": results.entrants,
        "scores_sha256": hashlib.sha256(scores).hexdigest(),
        "files": {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)},
        **{name: to_records(getattr(results, name)) for name in SCHEMAS if name != "scores"},
        **{
            str(kind): records for kind in METRICS if (records := [each.record for each in sheets if each.kind == kind])
        },
    }
    text = json.dumps(index, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / INDEX, seal(text.encode()))
    for name in saved_files(previous_index or {}):
        if name not in files and (name == OVERALL or Path(name).parts[0] in _REPLACED):
            delete_file(folder, name)
