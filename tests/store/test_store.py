import hashlib
import json
import os
from pathlib import Path

import pytest
from finished_units import FIT_FACTS

from gahbench._util.errors import ResultsError
from gahbench.contracts.scoring import Scores
from gahbench.contracts.unit import Unit
from gahbench.store.score_files import write_scores
from gahbench.store.store import Store


def unit(key="k1"):
    return Unit("score", key, "d", "e", "reference", None, "test", "psnr", None, "c", 0.0, {})


def finished(store, scores=None):
    attempt = store.begin(unit())
    write_scores(attempt.folder, scores or Scores([1.0, 2.0], [0.1, 0.1], [0, 1]))
    return attempt.finish({"kind": "classical"}, keep=("scores.csv",))


def test_a_unit_is_done_only_when_it_is_finished(tmp_path):
    store = Store(tmp_path)
    assert not store.is_done(unit())
    attempt = store.begin(unit())
    write_scores(attempt.folder, Scores([1.0]))
    assert not store.is_done(unit())
    assert finished(store)
    assert store.is_done(unit())
    store.sweep()
    assert {file.name for file in store.units.iterdir()} == {unit().folder}


def test_values_come_back_exactly(tmp_path):
    store = Store(tmp_path)
    values = [0.1 + 0.2, 1e-300, -5.0, 1 / 3]
    finished(store, Scores(values, [0.1, 0.1, 0.3, 0.3], [0, 1, 0, 1]))
    assert [value for _, _, value, _ in store.read_scores(unit())] == values
    store = Store(tmp_path / "single")
    finished(store, Scores([0.5]))
    assert store.read_scores(unit()) == [(None, None, 0.5, "")]
    store = Store(tmp_path / "parts")
    finished(store, Scores([0.5, 0.7], None, [0, 0], ["", "null"]))
    assert store.read_scores(unit()) == [(None, 0, 0.5, ""), (None, 0, 0.7, "null")]


def test_checksums_find_a_change_of_equal_size(tmp_path):
    store = Store(tmp_path)
    finished(store)
    store.verify(store.path(unit()))
    file = store.path(unit()) / "scores.csv"
    file.write_text(file.read_text().replace("2.0", "3.0"))
    assert not store.is_done(unit())
    with pytest.raises(ResultsError, match="damaged"):
        store.verify(store.path(unit()))


def test_only_what_is_named_is_kept(tmp_path):
    store = Store(tmp_path)
    attempt = store.begin(unit())
    (attempt.folder / "more.txt").write_text("x")
    write_scores(attempt.folder, Scores([1.0]))
    attempt.finish({}, keep=("scores.csv",))
    names = {file.name for file in store.path(unit()).iterdir()}
    assert names == {"scores.csv", "unit.json", "done.json"}


def test_a_failure_is_recorded_and_forgotten_by_success(tmp_path):
    store = Store(tmp_path)
    store.fail(unit(), "ValueError: no", "Traceback ...")
    assert store.failure(unit()) == "ValueError: no"
    assert json.loads(next(store.failures.iterdir()).read_text())["traceback"] == "Traceback ..."
    assert not store.is_done(unit())
    finished(store)
    assert store.failure(unit()) is None


@pytest.mark.parametrize("content", ["a,b\n1,2\n", f"sigma,image,value,part\n,,1,{'x' * 140_000}\n"])
def test_foreign_scores_are_refused(tmp_path, content):
    store = Store(tmp_path)
    finished(store)
    (store.path(unit()) / "scores.csv").write_text(content)
    with pytest.raises(ResultsError, match=r"scores\.csv"):
        store.read_scores(unit())


def score_of(weights, key="s1"):
    """Return a score unit of the fit k0, and finish it as if it had measured some weights."""
    return Unit("score", key, "d", "e", "architecture", 0, "test", "psnr", "k0", "c", 0.0, {}), {"k0": weights}


def finish_fit(store, content):
    fit = Unit("fit", "k0", "d", "e", "architecture", 0, None, None, None, None, 0.0, {})
    attempt = store.begin(fit)
    (attempt.folder / "weights.safetensors").write_bytes(content)
    attempt.finish(FIT_FACTS, keep=("weights.safetensors",))
    return fit, hashlib.sha256(content).hexdigest()


def finish_score(store, score, networks):
    attempt = store.begin(score)
    write_scores(attempt.folder, Scores([1.0]))
    attempt.finish({"kind": "trained", "networks": networks}, keep=("scores.csv",))


def test_a_score_counts_beside_the_network_that_it_measured_alone(tmp_path):
    store = Store(tmp_path)
    fit, digest = finish_fit(store, b"one")
    (one, measured), (other, another) = score_of(digest, "s1"), score_of("0" * 64, "s2")
    finish_score(store, one, measured)
    finish_score(store, other, another)
    assert store.whole([fit, one, other]) == {fit.folder, one.folder}
    assert list(store.set_aside([fit, one, other])) == [other]
    # A network that is damaged takes its scores along: the next one may differ by rounding.
    (store.path(fit) / "weights.safetensors").write_bytes(b"")
    assert {unit.folder for unit in store.set_aside([fit, one])} == {fit.folder, one.folder}


def test_a_file_that_cannot_be_read_is_no_reason_to_do_a_unit_again(tmp_path, monkeypatch):
    store = Store(tmp_path)
    finished(store)
    real = os.open

    def refuse(path, *arguments, **options):
        if Path(path).name == "scores.csv":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ResultsError, match="Permission denied"):
        store.set_aside([unit()])
    monkeypatch.undo()
    assert store.is_done(unit())


def test_a_finished_unit_does_not_fail(tmp_path):
    store = Store(tmp_path)
    finished(store)
    store.fail(unit(), "lost", "")
    assert store.failed() == set()
    (store.failures).mkdir(exist_ok=True)
    (store.failures / "fit-odd.json").write_text("[1]")
    assert store.failure_of("fit-odd") == "unknown"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "units").touch()
    with pytest.raises(ResultsError, match="is a file"):
        Store(tmp_path / "other").finished()
