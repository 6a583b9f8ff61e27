import hashlib
import json

import pytest

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


def test_scores_from_before_there_were_parts_are_read(tmp_path):
    store = Store(tmp_path)
    finished(store)
    content = b"sigma,image,value\n0.1,0,2.5\n"
    (store.path(unit()) / "scores.csv").write_bytes(content)
    done = json.loads((store.path(unit()) / "done.json").read_bytes())
    done["files"]["scores.csv"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (store.path(unit()) / "done.json").write_text(json.dumps(done))
    assert store.read_scores(unit()) == [(0.1, 0, 2.5, "")]


@pytest.mark.parametrize("damage", ["truncate", "remove", "done"])
def test_a_damaged_unit_is_not_done(tmp_path, damage):
    store = Store(tmp_path)
    finished(store)
    if damage == "truncate":
        (store.path(unit()) / "scores.csv").write_text("")
    elif damage == "remove":
        (store.path(unit()) / "unit.json").unlink()
    else:
        (store.path(unit()) / "done.json").write_text("{")
    assert not store.is_done(unit())
    assert store.set_aside([unit(), unit()]) == [unit()]
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    assert finished(store)
    assert store.is_done(unit())
    assert store.set_aside([unit()]) == []


def test_checksums_find_a_change_of_equal_size(tmp_path):
    store = Store(tmp_path)
    finished(store)
    store.verify(store.path(unit()))
    file = store.path(unit()) / "scores.csv"
    file.write_text(file.read_text().replace("2.0", "3.0"))
    assert store.is_done(unit())
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


def test_foreign_scores_are_refused(tmp_path):
    store = Store(tmp_path)
    finished(store)
    (store.path(unit()) / "scores.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ResultsError, match=r"scores\.csv"):
        store.read_scores(unit())
