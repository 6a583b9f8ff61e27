"""Damaged results folders: readers show only values that were written, or an error."""

from __future__ import annotations

import contextlib
import errno
import functools
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import pandas as pd
from hypothesis import strategies as st

import gahbench
from gahbench.report import figures
from gahbench.report.text import markdown
from gahbench.runs.collect import collect
from gahbench.runs.status import status, weights

from .damage import Damage, damages, inflict
from .harness import Campaign, accept_errors

SUITE = """
name: attacked
datasets: [{discs: {size: 16}}]
entrants:
  - unet: {width: 2, levels: 1}
  - identity
  - oracle-threshold: {basis: haar}
baseline: oracle-threshold[haar]
training: {steps: 3, batch_size: 2, compile: never, validations: 1, validation_images: 2, snapshots: 2}
scoring: {sigmas: [0.1, 0.3], images: 3, metrics: [psnr, slope]}
"""
#: An entrant that is added. One thread computes, since a forked process cannot use threads of its parent.
ADDED = ["low-pass[share=0.1]"]
#: Errors of the file system that end a command with status 74.
_FILE_SYSTEM_ERRORS = {
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENOTEMPTY,
}
_FILE_SYSTEM_ERRORS |= {errno.ENAMETOOLONG, errno.ENXIO, errno.EINVAL, errno.EROFS, errno.ENOSPC}
#: Columns that differ between runs.
_TIMES = ["seconds_per_megapixel", "train_seconds"]


@functools.cache
def finished_run() -> Path:
    """Return a folder with a suite file and the results folder ``out`` of its finished run."""
    home = Path(tempfile.mkdtemp(prefix="attacked-"))
    (home / "attacked.yaml").write_text(SUITE, encoding="utf-8")
    with _small_figures():
        gahbench.run(home / "attacked.yaml", home / "out", engine="inline", entrants=ADDED, threads=1)
    return home


@functools.cache
def _results() -> gahbench.Results:
    return gahbench.load_results(finished_run() / "out")


def prepare() -> None:
    """Run the suite once, before processes are forked."""
    _results().leaderboard(full=True)


def attempt(case: Sequence[Damage], scratch: Path) -> None:
    """Damage a copy of the results folder and read it in all ways; no reader may show a value that was not written."""
    home = scratch / "home"
    shutil.copytree(finished_run(), home, symlinks=True)
    out = home / "out"
    for damage in case:
        inflict(damage, out)
    with _small_figures(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _refusals():
            status(out)
        with _refusals():
            _check(gahbench.load_results(out))
        with _refusals():
            _check(collect(out))
        with _refusals():
            for network in weights(out, "unet[width=2,levels=1]"):
                assert network.weights.read_bytes() in _weights()
        with _refusals():
            outcome = gahbench.run(home / "attacked.yaml", out, engine="inline", entrants=ADDED, threads=1)
            _check(outcome.results)
            if not outcome.failed and not outcome.waiting:
                pd.testing.assert_frame_equal(
                    outcome.leaderboard(full=True).drop(columns=_TIMES, errors="ignore"),
                    _results().leaderboard(full=True).drop(columns=_TIMES, errors="ignore"),
                )


@functools.cache
def _weights() -> list[bytes]:
    return [file.read_bytes() for file in (finished_run() / "out" / "units").glob("*/weights.safetensors")]


def _check(results: gahbench.Results) -> None:
    """Check that results can be printed, and are among the original results."""
    markdown(results)
    expected = _results()
    for name in ("scores", "datasets"):
        _assert_among(getattr(results, name), getattr(expected, name))
    _assert_among(results.fits.drop(columns="train_seconds"), expected.fits.drop(columns="train_seconds"))
    assert (results.suite, results.baseline) == (expected.suite, expected.baseline)


def _assert_among(rows: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Assert that all rows of a table are also in another table."""
    known = {repr(row) for row in expected.itertuples(index=False, name=None)}
    unknown = [row for row in rows.itertuples(index=False, name=None) if repr(row) not in known]
    assert not unknown, unknown[:3]


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Accept errors of gahbench with a readable message, and errors of the file system."""
    try:
        with accept_errors():
            yield
    except OSError as error:
        if error.errno not in _FILE_SYSTEM_ERRORS or error.filename is None:
            raise


@contextlib.contextmanager
def _small_figures() -> Iterator[None]:
    """Replace figures by a placeholder, since drawing takes most of the time of a board."""
    with mock.patch.object(figures, "render_figures", return_value=[("one.svg", b"figure")]):
        yield


CAMPAIGN = Campaign(st.lists(damages(), min_size=1, max_size=3), attempt, prepare)
