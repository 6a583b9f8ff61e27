"""The folder of a finished unit, read with suspicion."""

import json
import os
import warnings

import pytest
from finished_units import FIT_FACTS, forge_done

from gahbench._util.keys import key_of
from gahbench.contracts.scoring import Scores
from gahbench.contracts.unit import Unit
from gahbench.store.finished import DamagedError, warn_of_damage
from gahbench.store.score_files import write_scores
from gahbench.store.store import Store

DOCUMENT = {"entrant": "x", "sigmas": [0.1]}


def score(entrant="e", document=None):
    document = document or {**DOCUMENT, "entrant": entrant}
    key = key_of(document)
    return Unit("score", key, "d", entrant, "reference", None, "test", "psnr", None, "c", 0.0, {}, document=document)


def fit(key="f"):
    return Unit("fit", key, "d", "e", "architecture", 0, None, None, None, None, 0.0, {})


def finish(store, unit, value=1.0):
    attempt = store.begin(unit)
    if unit.kind == "fit":
        (attempt.folder / "weights.safetensors").write_bytes(b"weights")
        return attempt.finish(FIT_FACTS, keep=("weights.safetensors",))
    write_scores(attempt.folder, Scores([value]))
    return attempt.finish({"kind": "classical", "seconds": 1.0}, keep=("scores.csv",))


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    finish(store, score())
    return store


def why(store, unit):
    """Return why a unit is not whole; it is set aside, and done again."""
    found = store.examined([unit])
    assert found.whole == {}
    (reason,) = found.damaged.values()
    with pytest.raises(DamagedError):
        store.read_scores(unit)
    assert set(store.set_aside([unit])) == {unit}
    assert store.finished() == set()
    assert finish(store, unit)
    assert store.is_done(unit)
    return reason


def test_scores_that_changed_places_are_of_other_units(store):
    one, other = store.path(score("a")), store.path(score("b"))
    finish(store, score("a"), 1.0)
    finish(store, score("b"), 2.0)
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)
    assert set(store.examined([score("a"), score("b")]).damaged) == {one.name, other.name}
    assert set(store.set_aside([score("a"), score("b")])) == {score("a"), score("b")}
    # Nor are they taken for what they say they are.
    assert {unit.entrant for unit in store.recorded()} == {"e"}


def test_a_record_whose_document_is_not_that_of_its_key_does_not_count(store):
    folder = store.path(score())
    record = json.loads((folder / "unit.json").read_bytes())
    record["document"]["sigmas"] = [0.2]
    (folder / "unit.json").write_text(json.dumps(record))
    forge_done(folder, "unit.json")
    assert "the hash of its document is not its key" in why(store, score())


def test_a_changed_fact_does_not_count(store):
    file = store.path(score()) / "done.json"
    file.write_text(file.read_text().replace('"classical"', '"trained"'))
    assert "done.json: its checksum is not that of its content" in why(store, score())


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"\\ud800"',
        "[" * 100_000,
        '{"files": []}',
        '{"files": {"a": 1}}',
        "9" * 5000,
        "\udcff",
    ],
)
@pytest.mark.parametrize("name", ["done.json", "unit.json"])
def test_what_is_no_record_does_not_count(store, name, content):
    folder = store.path(score())
    (folder / name).write_text(content, errors="surrogateescape")
    if name == "unit.json":
        forge_done(folder, name)
    assert name in why(store, score())


@pytest.mark.parametrize(
    "facts",
    [
        {"kind": "best"},
        {"kind": ["classical"]},
        {"kind": None},
        {"notes": [{}]},
        {"notes": ["\ud800"]},
        {"seconds": "1"},
        {"seconds": float("nan")},
        {"seconds": 10**400},
        {"parameters": 2**64},
        {"parameters": True},
        {"networks": {"f": "x"}},
        {"adopted": {"from": "a"}},
        {"files": {"../x": {"bytes": 1, "sha256": "0" * 64}}},
        {"files": {"/etc/passwd": {"bytes": 1, "sha256": "0" * 64}}},
        {"files": {"unit.json": {"bytes": 1, "sha256": None}}},
        {"files": {}},
    ],
    ids=repr,
)
def test_facts_of_other_types_do_not_count(store, facts):
    forge_done(store.path(score()), **facts)
    assert ".json" in why(store, score())


@pytest.mark.parametrize("name", ["done.json", "unit.json", "scores.csv"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "loop", "gone"])
def test_what_is_no_file_does_not_count_and_nobody_waits_for_it(store, name, kind):
    file = store.path(score()) / name
    content = file.read_bytes()
    file.unlink()
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "link":
        (store.folder / "elsewhere").write_bytes(content)
        file.symlink_to(store.folder / "elsewhere")
    elif kind == "loop":
        file.symlink_to(name)
    assert name in why(store, score())


def test_other_things_than_folders_are_no_units(store):
    (store.units / "score-file").write_text("x")
    (store.units / "score-folder").mkdir()
    os.mkfifo(store.units / "score-fifo")
    units = [Unit("score", key, "d", "e", "reference", None, "test", "psnr", None, "c", 0.0, {})
             for key in ("file", "folder", "fifo")]  # fmt: skip
    assert set(store.set_aside(units)) == set(units)
    assert len(list((store.folder / "damaged").iterdir())) == 3


def test_weights_are_hashed_where_something_is_to_be_measured_of_them(tmp_path):
    store = Store(tmp_path)
    finish(store, fit())
    (store.path(fit()) / "weights.safetensors").write_bytes(b"WEIGHTS")
    measured = Unit("score", "s", "d", "e", "architecture", 0, "test", "psnr", "f", "c", 0.0, {})
    assert store.set_aside([fit()]) == {}
    assert set(store.set_aside([fit(), measured])) == {fit()}


def test_a_warning_names_some_of_many():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_damage([], "moved")
    with pytest.warns(UserWarning, match="^7 finished units were damaged, moved: 0; 1; 2; 3; 4; and 2 more$"):
        warn_of_damage(map(str, range(7)), "moved")
