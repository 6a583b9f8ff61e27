"""Interrupted runs: waiting for conditions, processes, and the files that remain."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny_runs

from gahbench._util.records import read_record
from gahbench.store.units import PROGRESS


def wait_for(condition: Callable[[], object], seconds: float = 90.0, explain: Callable[[], str] = lambda: "") -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited too long: {explain()}"
        time.sleep(0.05)


def wait_for_checkpoint(folder: Path) -> None:
    """Wait until a fit in a results folder has written a checkpoint."""
    wait_for(lambda: list(folder.glob("units/fit-*.partial-*/checkpoint-*.pt")))


def processes_of(folder: Path) -> list[int]:
    """Return the processes of the rows that run in a results folder, and report their process in their attempt."""
    reports = [read_record(attempt / PROGRESS) for attempt in (folder / "units").glob("*.partial-*")]
    return [report["process"] for report in reports if "process" in report and is_alive(report["process"])]


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(listed.stdout.strip()) and not listed.stdout.startswith("Z")


def board(folder: Path) -> Any:
    """Return the board of the finished units of a folder, without the times of training."""
    from gahbench.runs.collect import collect

    return tiny_runs.board(collect(folder))


def times(folder: Path) -> dict[Path, int]:
    """Return the times of modification of the files of finished units."""
    finished = [unit for unit in (folder / "units").iterdir() if ".partial" not in unit.name]
    return {file: file.stat().st_mtime_ns for unit in finished for file in unit.iterdir()}
