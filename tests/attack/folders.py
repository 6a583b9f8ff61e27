"""Results folders that are damaged: what is shown of them is what was written, or nothing."""

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
from gahbench.report.tables import markdown
from gahbench.runs.collect import collect
from gahbench.runs.removal import weights
from gahbench.runs.status import status

from .damage import FORGED, Damage, damages, inflict
from .harness import Campaign, accepted

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
#: Errors of a file system that end a command with status 74.
_FILE_SYSTEM = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY)
_FILE_SYSTEM += (errno.ENAMETOOLONG, errno.ENXIO, errno.EINVAL, errno.EROFS, errno.ENOSPC)
#: Differs from one training to the next.
_TIMES = ["train_seconds"]


@functools.cache
def whole() -> Path:
    """Return a finished folder, with its suite beside it."""
    home = Path(tempfile.mkdtemp(prefix="attacked-"))
    (home / "attacked.yaml").write_text(SUITE, encoding="utf-8")
    with _small_figures():
        gahbench.run(home / "attacked.yaml", home / "out", engine="inline", entrants=["low-pass[share=0.1]"])
    return home


@functools.cache
def _results() -> gahbench.Results:
    whole()
    return gahbench.load_results(whole() / "out")


def prepare() -> None:
    """Make the folder that is damaged."""
    _results().leaderboard(full=True)


def attempt(case: Sequence[Damage], scratch: Path) -> None:
    """Damage a finished folder, and let all readers read it; they may show no number that was not written."""
    home = scratch / "home"
    shutil.copytree(whole(), home, symlinks=True)
    out = home / "out"
    for damage in case:
        inflict(damage, out)
    forged = any(damage.kind in FORGED for damage in case)
    with _small_figures(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _refusals():
            status(out)
        with _refusals():
            _check(gahbench.load_results(out), forged)
        with _refusals():
            _check(collect(out), forged)
        with _refusals():
            for one in weights(out, "unet[width=2,levels=1]"):
                assert forged or one.weights.read_bytes() in _weights()
        with _refusals():
            outcome = gahbench.run(home / "attacked.yaml", out, engine="inline", entrants=["low-pass[share=0.1]"])
            _check(outcome.results, forged)
            if not outcome.failed and not outcome.waiting and not forged:
                pd.testing.assert_frame_equal(
                    outcome.leaderboard(full=True).drop(columns=_TIMES),
                    _results().leaderboard(full=True).drop(columns=_TIMES),
                )


@functools.cache
def _weights() -> list[bytes]:
    return [file.read_bytes() for file in (whole() / "out" / "units").glob("*/weights.safetensors")]


def _check(found: gahbench.Results, forged: bool) -> None:
    """Check that nothing is shown that was not written; a forged value may be shown."""
    # Whatever is read can be printed.
    markdown(found)
    if forged:
        return
    expected = _results()
    for name in ("scores", "datasets"):
        _assert_among(getattr(found, name), getattr(expected, name))
    _assert_among(found.fits.drop(columns=_TIMES), expected.fits.drop(columns=_TIMES))
    assert (found.suite, found.baseline) == (expected.suite, expected.baseline)


def _assert_among(rows: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Assert that rows of a table are among those of another."""
    known = {repr(row) for row in expected.itertuples(index=False, name=None)}
    strange = [row for row in rows.itertuples(index=False, name=None) if repr(row) not in known]
    assert not strange, strange[:3]


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Let something be refused: by an error that says what is wrong, or by the file system."""
    try:
        with accepted():
            yield
    except OSError as error:
        if error.errno not in _FILE_SYSTEM or error.filename is None:
            raise


@contextlib.contextmanager
def _small_figures() -> Iterator[None]:
    """Draw no figures, which takes most of the time of a board."""
    with mock.patch.object(figures, "rendered", return_value=[("one.svg", b"figure")]):
        yield


CAMPAIGN = Campaign("folders", st.lists(damages(), min_size=1, max_size=3), attempt, prepare)
