"""Results in files: equal results give equal files, and damage is an error that names the file."""

import dataclasses
import errno
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from fake_results import failure, realistic, results

from gahbench._util.errors import ResultsError
from gahbench._util.records import write_sealed
from gahbench.board.results import load_results, saved_digest
from gahbench.board.tables import SCHEMAS
from gahbench.report.publish import publish

ENTRANTS = [("net", "trained", 0.3, 0.66, 2), ("oracle", "oracle", 1.6, 0.58, 1)]


def build_results(seed=0, shuffle=False):
    scores, fits, datasets = realistic(ENTRANTS, images=6, seed=seed)
    scores[3]["value"] = np.nan
    if shuffle:
        order = np.random.default_rng(1).permutation(len(scores))
        scores, fits = [scores[index] for index in order], fits[::-1]
    failures = [failure(datasets[0]["dataset"], "gone", 0, "ValueError: é ü σ")]
    return results(scores, fits, failures, datasets, ["net", "oracle", "gone"], "oracle")


def assert_same(first, second):
    for name in SCHEMAS:
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name), check_exact=True)
    assert (first.suite, first.entrants, first.baseline) == (second.suite, second.entrants, second.baseline)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the results, for tests that do not change it."""
    folder = tmp_path_factory.mktemp("saved")
    publish(build_results(), folder, "abc")
    return folder


def test_save_and_load_of_two_files_is_the_identity(saved, tmp_path):
    for name in ("scores.parquet", "results.json"):
        shutil.copy(saved / name, tmp_path)
    fake = build_results()
    assert_same(load_results(tmp_path), fake)
    board = fake.leaderboard(full=True)
    pd.testing.assert_frame_equal(load_results(saved).leaderboard(full=True), board, check_exact=True)
    # Changes of the returned table do not change the results.
    board.loc[:, "psnr"] = 0.0
    assert (fake.leaderboard(full=True)["psnr"] != 0).all()


def test_empty_tables_survive(tmp_path):
    empty = results([], entrants=["net"])
    publish(empty, tmp_path, "abc")
    assert_same(load_results(tmp_path), empty)


def test_equal_results_give_equal_files(saved, tmp_path):
    publish(build_results(shuffle=True), tmp_path, "abc")
    first, second = contents(saved), contents(tmp_path)
    assert set(first) == set(second)
    assert [name for name in first if first[name] != second[name]] == []
    assert {"scores.parquet", "leaderboard.csv", "leaderboard.md", "results.json"} < set(first)
    assert "figures/gains.svg" in first
    # The CSV has full precision.
    table = pd.read_csv(saved / "leaderboard.csv", dtype={"psnr@0.06": str})
    board = build_results().leaderboard(full=True)
    assert table["psnr@0.06"].dropna().map(float).tolist() == board["psnr@0.06"].dropna().tolist()
    assert list(table.columns) == list(board.columns)


def test_a_folder_has_a_digest_only_while_its_files_are_unchanged(saved, tmp_path):
    assert saved_digest(tmp_path) is None
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    assert saved_digest(tmp_path) == "abc"
    for name in ("leaderboard.md", "results.json"):
        (tmp_path / name).write_text("{")
        assert saved_digest(tmp_path) is None
        shutil.copy(saved / name, tmp_path)
    assert saved_digest(tmp_path) == "abc"


def test_a_full_disk_while_saving_leaves_no_temporary_files_and_no_digest_of_the_new_results(
    saved, tmp_path, monkeypatch
):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    real = os.fsync

    def fail_for_a_table(handle):
        if "leaderboard.csv" in os.readlink(f"/proc/self/fd/{handle}"):  # noqa: PTH115
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fail_for_a_table)
    with pytest.raises(OSError, match="No space left"):
        publish(build_results(seed=1), tmp_path, "new")
    assert contents(tmp_path).keys() == contents(saved).keys()
    assert saved_digest(tmp_path) != "new"


def test_publishing_removes_old_figures_and_keeps_other_files(saved, tmp_path):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    (tmp_path / "figures" / "mine.png").write_bytes(b"")
    publish(results([], entrants=[]), tmp_path, "def")
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["mine.png"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            lambda results: {"scores": results.scores.drop(columns=["sigma", "image"])},
            "scores lacks the columns sigma, image",
        ),
        (lambda results: {"scores": results.scores.astype({"value": object}).assign(value="much")}, "column value"),
        (lambda results: {"entrants": ["net"]}, r"name gone, oracle; its entrants are net"),
    ],
)
def test_errors_name_what_is_wrong_in_a_table(changed, message):
    with pytest.raises(ResultsError, match=message):
        dataclasses.replace(build_results(), **changed(build_results()))


def rewrite(**changes):
    """Return a function that changes fields of a sealed index and seals it again."""

    def damage(index, scores):
        document = json.loads(index.read_text())
        del document["checksum"]
        write_sealed(index, {name: value for name, value in (document | changes).items() if value is not None})

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda index, scores: index.unlink(), "results.json: cannot be read .*expected a results folder"),
        (lambda index, scores: scores.unlink(), "cannot be read as results of gahbench: .*scores.parquet"),
        (lambda index, scores: scores.write_bytes(scores.read_bytes()[:-9]), "scores.parquet is damaged"),
        (lambda index, scores: index.write_text('{"name": "app"}'), "results.json: damaged, or not a file of gahbench"),
        (rewrite(version=99), "results.json: another format; this gahbench reads version"),
        (
            lambda index, scores: index.write_text(index.read_text().replace('"net"', '"ten"')),
            "results.json: damaged, .* its checksum",
        ),
        (rewrite(fits=None), "cannot be read as results of gahbench: KeyError: 'fits'"),
        (rewrite(datasets=[{"dataset": "d"}]), "datasets lacks the columns optimum, slope, "),
        (rewrite(fits=3), "cannot be read as results"),
    ],
)
def test_errors_name_damaged_files(saved, tmp_path, damage, message):
    for name in ("results.json", "scores.parquet"):
        shutil.copy(saved / name, tmp_path)
    damage(tmp_path / "results.json", tmp_path / "scores.parquet")
    with pytest.raises(ResultsError, match=message) as caught:
        load_results(tmp_path)
    assert str(tmp_path) in str(caught.value)
