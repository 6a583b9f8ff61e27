"""The store and the plan of a results folder: the first complete attempt is the unit, and files are validated."""

import errno
import fcntl
import hashlib
import json
import math
import multiprocessing
import os
import stat
import zipfile
from pathlib import Path

import pytest
from attack.hostile_files import CONTENTS, SPECIAL, make_special
from finished_units import EMPTY_BOARD, FIT_FACTS, forge_done

from gahbench._util.errors import ResultsError
from gahbench._util.files import StorageError, write_atomically
from gahbench._util.records import key_of, parse_sealed, write_sealed
from gahbench.contracts.metrics import Scores
from gahbench.contracts.unit import Unit
from gahbench.store import plan_file
from gahbench.store import store as store_module
from gahbench.store.plan_file import RecordedPlan, copy_plugins, read_plan, require_plan, write_plan
from gahbench.store.store import LockError, Store, open_folder
from gahbench.store.units import DamagedError, FinishedUnit, write_scores

FIT = Unit("fit", "f", "d", "e", "architecture", 0, None, None, None, 0.0, {})


def score(entrant="e"):
    document = {"entrant": entrant, "sigmas": [0.1]}
    fields = ("reference", None, "test", "psnr", None, 0.0, {})
    return Unit("score", key_of(document), "d", entrant, *fields, document=document)


def score_of_fit(key):
    return Unit("score", key, "d", "e", "architecture", 0, "test", "psnr", FIT.key, 0.0, {})


def finish(store, unit, scores=None, **facts):
    attempt = store.begin(unit)
    write_scores(attempt.folder, scores or Scores([1.0, 2.0], [0.1, 0.1], [0, 1]))
    attempt.finish({"kind": "classical", "seconds": 1.0, **facts}, keep=("scores.csv",))


def finish_fit(store, content=b"weights"):
    attempt = store.begin(FIT)
    (attempt.folder / "weights.safetensors").write_bytes(content)
    attempt.finish(FIT_FACTS, keep=("weights.safetensors",))
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def empty(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def store(empty):
    finish(empty, score())
    return empty


def reason_for_damage(store, unit):
    """Return why a unit is damaged, after checking that it is moved away and can be recomputed."""
    examination = store.examine([unit])
    assert examination.undamaged == {}
    (reason,) = examination.damaged.values()
    with pytest.raises(DamagedError):
        store.read_scores(unit)
    assert set(store.move_damaged([unit, unit])) == {unit.folder}
    assert store.finished() == set()
    finish(store, unit)
    assert store.examine([unit]).undamaged
    assert store.move_damaged([unit]) == {}
    return reason


def test_a_unit_is_done_only_once_its_attempt_is_finished(empty):
    attempt = empty.begin(score())
    write_scores(attempt.folder, Scores([1.0]))
    (attempt.folder / "more.txt").write_text("x")
    assert not empty.examine([score()]).undamaged
    attempt.finish({"kind": "classical"}, keep=("scores.csv",))
    assert empty.examine([score()]).undamaged
    assert {file.name for file in empty.path(score()).iterdir()} == {"scores.csv", "unit.json", "done.json"}


def test_the_first_complete_attempt_becomes_the_unit(empty):
    first, second = empty.begin(score()), empty.begin(score())
    write_scores(first.folder, Scores([1.0]))
    write_scores(second.folder, Scores([2.0]))
    first.finish({"kind": "classical"}, keep=("scores.csv",))
    second.finish({"kind": "classical"}, keep=("scores.csv",))
    assert empty.read_scores(score()) == [(None, None, 1.0, "")]
    assert [file.name for file in empty.units.iterdir()] == [score().folder]


def write_checkpoint(attempt, text, step=5):
    """Write a checkpoint as fits do: under a temporary name, which is then renamed."""
    file = attempt.folder / "other"
    file.write_text(text)
    return file.replace(attempt.folder / f"checkpoint-{step}.pt")


def test_a_fit_resumes_from_the_newest_checkpoints_of_any_attempt(empty):
    for number, when in ((1, 100.0), (3, 300.0), (2, 200.0)):
        attempt = empty.begin(FIT)
        for step in (5, 10):
            os.utime(write_checkpoint(attempt, f"{number} at {step}", step), (when, when))
    # The process that wrote this file was killed.
    (attempt.folder / ".checkpoint-15.pt.x.tmp").write_text("half")
    # A link is not copied, since it may lead outside the folder.
    (attempt.folder / "checkpoint-20.pt").symlink_to("checkpoint-10.pt")
    last = empty.begin(FIT)
    assert {file.name: file.read_text() for file in last.folder.iterdir()} == {
        "checkpoint-5.pt": "3 at 5",
        "checkpoint-10.pt": "3 at 10",
    }
    assert empty.checkpoint_time(FIT.folder) == 300.0
    # Of the earlier attempts, only the newest is kept.
    assert len(list(empty.units.iterdir())) == 2
    other = empty.begin(score())
    last.finish({}, keep=())
    empty.sweep()
    assert {file.name for file in empty.units.iterdir()} == {FIT.folder, other.folder.name}


def test_a_later_attempt_does_not_change_files_of_a_finished_unit(empty):
    first = empty.begin(FIT)
    for name in ("history.csv", "weights.safetensors", "snapshot-5.safetensors"):
        (first.folder / name).write_text("first")
    write_checkpoint(first, "1")
    second = empty.begin(FIT)
    assert {file.name for file in second.folder.iterdir()} == {"checkpoint-5.pt", "snapshot-5.safetensors"}
    first.finish(FIT_FACTS, keep=("weights.safetensors", "history.csv", "snapshot-5.safetensors"))
    for name in ("history.csv", "snapshot-5.safetensors"):
        write_atomically(second.folder / name, b"another")
    FinishedUnit(empty.path(FIT)).check(full=True)


def test_a_unit_cannot_be_finished_without_its_files(empty):
    attempt = empty.begin(FIT)
    (attempt.folder / "weights.safetensors").write_text("weights")
    with pytest.raises(StorageError, match="snapshot-10"):
        attempt.finish({}, keep=("weights.safetensors", "snapshot-10.safetensors"))
    assert not empty.examine([FIT]).undamaged


@pytest.mark.parametrize("fault", ["repeated", "removed"])
def test_a_rename_that_fails_is_ignored_only_if_the_unit_is_finished(empty, monkeypatch, fault):
    """A network file system may lose its reply and repeat the rename, which then finds nothing at the old name."""
    rename, attempt = Path.rename, empty.begin(FIT)

    def fail(path, target):
        rename(path, target if fault == "repeated" else empty.folder / "elsewhere")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    if fault == "removed":
        with pytest.raises(StorageError, match="No such file"):
            attempt.finish({}, keep=())
    else:
        attempt.finish({}, keep=())
        assert FIT.folder in empty.finished()


@pytest.mark.parametrize(
    ("scores", "rows"),
    [
        (
            Scores([0.1 + 0.2, 1e-300, -5.0, 1 / 3], [0.1, 0.1, 0.3, 0.3], [0, 1, 0, 1]),
            [(0.1, 0, 0.1 + 0.2, ""), (0.1, 1, 1e-300, ""), (0.3, 0, -5.0, ""), (0.3, 1, 1 / 3, "")],
        ),
        (Scores([0.5]), [(None, None, 0.5, "")]),
        (Scores([0.5, 0.7], None, [0, 0], ["", "null"]), [(None, 0, 0.5, ""), (None, 0, 0.7, "null")]),
    ],
)
def test_scores_are_read_back_exactly(empty, scores, rows):
    finish(empty, score(), scores)
    assert empty.read_scores(score()) == rows


@pytest.mark.parametrize("content", ["a,b\n1,2\n", f"sigma,image,value,part\n,,1,{'x' * 140_000}\n", "", "\n"])
def test_files_that_are_not_score_tables_are_refused(store, content):
    (store.path(score()) / "scores.csv").write_text(content)
    forge_done(store.path(score()), "scores.csv")
    with pytest.raises(ResultsError, match=r"scores\.csv: cannot be read"):
        store.read_scores(score())


@pytest.mark.parametrize(
    ("name", "old", "new"), [("scores.csv", "2.0", "3.0"), ("done.json", '"classical"', '"trained"')]
)
def test_a_change_that_keeps_the_file_size_is_detected(store, name, old, new):
    file = store.path(score()) / name
    file.write_text(file.read_text().replace(old, new))
    assert f"{name}: " in (reason := reason_for_damage(store, score()))
    assert "its checksum" in reason


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", ["done.json", "unit.json"])
def test_invalid_records_are_damaged(store, name, content):
    folder = store.path(score())
    (folder / name).write_bytes(CONTENTS[content])
    if name == "unit.json":
        forge_done(folder, name)
    assert name in reason_for_damage(store, score())


@pytest.mark.parametrize(
    "files",
    [{"../x": {"bytes": 1, "sha256": "0" * 64}}, {"unit.json": {"bytes": 1, "sha256": None}}, {"unit.json": 1}, {}],
    ids=repr,
)
def test_invalid_names_and_checksums_of_files_are_damaged(store, files):
    forge_done(store.path(score()), files=files)
    assert ".json" in reason_for_damage(store, score())


@pytest.mark.parametrize("name", ["done.json", "unit.json", "scores.csv"])
@pytest.mark.parametrize("kind", [kind for kind in SPECIAL if kind != "forbidden"])
def test_a_path_that_is_not_a_regular_file_is_damaged_and_does_not_block(store, name, kind):
    file = store.path(score()) / name
    content = file.read_bytes()
    file.unlink()
    make_special(kind, file, content)
    assert name in reason_for_damage(store, score())


def test_entries_that_are_not_unit_folders_are_damaged(store):
    (store.units / "score-file").write_text("x")
    (store.units / "score-folder").mkdir()
    os.mkfifo(store.units / "score-fifo")
    units = [score_of_fit(key) for key in ("file", "folder", "fifo")]
    assert set(store.move_damaged(units)) == {unit.folder for unit in units}
    assert len(list((store.folder / "damaged").iterdir())) == 3
    (store.folder / "other").mkdir()
    (store.folder / "other" / "units").touch()
    with pytest.raises(ResultsError, match="is a file"):
        Store(store.folder / "other").finished()


def test_a_score_counts_only_with_the_weights_that_it_measured(empty):
    digest = finish_fit(empty)
    first, second = score_of_fit("s1"), score_of_fit("s2")
    finish(empty, first, kind="trained", networks={FIT.key: digest})
    finish(empty, second, kind="trained", networks={FIT.key: "0" * 64})
    assert empty.examine([first, FIT, second]).undamaged.keys() == {FIT.folder, first.folder}
    assert set(empty.move_damaged([FIT, first, second])) == {second.folder}
    # The content of weights is compared when a score needs them; the scores of damaged weights count as damaged too.
    (empty.path(FIT) / "weights.safetensors").write_bytes(b"WEIGHTS")
    assert empty.move_damaged([FIT, first]) == {}
    assert set(empty.move_damaged([FIT, first, second])) == {FIT.folder, first.folder}


def test_an_unreadable_file_does_not_cause_a_unit_to_be_recomputed(store, monkeypatch):
    real = Path.open

    def refuse(path, *arguments, **options):
        if path.name == "scores.csv":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ResultsError, match="Permission denied"):
        store.move_damaged([score()])
    monkeypatch.undo()
    assert store.examine([score()]).undamaged


def test_a_failure_record_is_deleted_once_the_unit_finishes(empty):
    empty.fail(score(), "ValueError:\nno", "Traceback ...")
    assert empty.ended() == (set(), {score().folder})
    assert empty.failure_of(score().folder) == "ValueError: no"
    assert json.loads(next(empty.failures.iterdir()).read_text())["traceback"] == "Traceback ..."
    finish(empty, score())
    # A finished unit is not recorded as failed.
    empty.fail(score(), "lost", "")
    assert empty.failed() == set()
    (empty.failures / "fit-odd.json").write_text("[1]")
    assert empty.failure_of("fit-odd") == "no reason was recorded"


def test_one_run_or_shards_of_one_run_lock_a_folder(store):
    with store.lock():
        for shard in ("", "1/2"):
            with pytest.raises(LockError, match=rf"\(host .*, process {os.getpid()}\)"), store.lock(shard):
                pass
    with store.lock("1/2"), store.lock("2/2"):
        for shard in ("", "2/2"):
            with pytest.raises(LockError, match="another run is at work"), store.lock(shard):
                pass
    with store.lock():
        pass


def test_a_file_system_without_locks_can_be_used(store, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with store.lock(), store.lock():
        pass


@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "loop", "socket", "zero"])
def test_a_lock_that_is_not_a_regular_file_is_refused(store, kind):
    make_special(kind, store.folder / ".lock", b"kept")
    with pytest.raises(LockError, match="cannot be written as a results folder"), store.lock():
        pass
    assert kind != "link" or (store.folder / "target").read_bytes() == b"kept"


def _finish_units(folder, barrier, keys):
    store = Store(folder)
    for key in keys:
        attempt = store.begin(score(key))
        write_scores(attempt.folder, Scores([float(os.getpid())] * 50))
        barrier.wait(60)
        attempt.finish({"kind": "classical"}, keep=("scores.csv",))


@pytest.mark.processes
def test_two_processes_may_finish_the_same_units_at_the_same_moments(empty):
    context, keys = multiprocessing.get_context("fork"), [f"e{number}" for number in range(100)]
    barrier = context.Barrier(2)
    racers = [context.Process(target=_finish_units, args=(empty.folder, barrier, keys)) for _ in range(2)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(120)
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert len(empty.examine([score(key) for key in keys], full=True).undamaged) == len(keys)
    assert list(empty.units.glob("*.partial*")) == []


def pack(file, members):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_archive_is_a_folder_until_the_context_ends(tmp_path):
    content = {"plan.json": b"{}", "units/fit-1/weights.safetensors": bytes(range(256)) * 9, "empty": b""}
    with open_folder(pack(tmp_path / "first.zip", content)) as copy:
        assert copy.name == "first"
        assert files_in(copy) == content
    assert not copy.exists()
    with open_folder(tmp_path) as opened:
        assert opened == tmp_path


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/tmp/outside", "link", "fifo"])
def test_members_are_written_as_regular_files_inside_the_folder(tmp_path, monkeypatch, name):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    member = zipfile.ZipInfo(name)
    member.external_attr = {"link": stat.S_IFLNK, "fifo": stat.S_IFIFO}.get(name, stat.S_IFREG) << 16
    with open_folder(pack(tmp_path / "bad.zip", {member: b"/etc/passwd"})) as folder:
        assert list(files_in(folder).values()) == [b"/etc/passwd"]
        assert not any(path.is_symlink() for path in folder.rglob("*"))
        assert {path.name for path in tmp_path.iterdir()} == {"bad.zip", folder.parent.name}


@pytest.mark.parametrize("change", ["truncated", "text", "many", "large"])
def test_damaged_and_large_archives_are_refused(tmp_path, monkeypatch, change):
    monkeypatch.setattr(store_module, "MAX_MEMBERS", 5)
    monkeypatch.setattr(store_module, "MAX_BYTES", 200_000)
    members = {
        "many": dict.fromkeys("abcdef", b""),
        "large": {"a": bytes(100_001), "b": bytes(100_001)},
    }
    file = pack(tmp_path / "bad.zip", members.get(change, {"zeros": bytes(100_000), "name": bytes(range(256))}))
    content = bytearray(file.read_bytes())
    if change == "truncated":
        del content[len(content) // 2 :]
    elif change == "text":
        content[:] = b"not an archive"
    file.write_bytes(content)
    with pytest.raises(ResultsError, match=r"bad\.zip: cannot be unpacked"), open_folder(file):
        pass


PLUGIN = {"name": "e", "parameters": {}, "identity": "0", "origins": [], "label": "e"}
PAYLOAD = {"dataset": PLUGIN, "entrant": PLUGIN, "metric": PLUGIN, "images": 3, "sigmas": [0.1]}


@pytest.fixture
def plan(tmp_path):
    key = ("reference", None, "test", "psnr", None, math.inf)
    plan = RecordedPlan(
        *("s", (Unit("score", "k", "d", "e", *key, PAYLOAD, document={"a": 1}),), EMPTY_BOARD, 2),
        plugins=("plugins/x/y.py",),
        suite_text="name: s  # of one unit\n",
        changes=("--set training.steps=2",),
    )
    write_plan(tmp_path, plan)
    return plan


def test_a_plan_is_read_back_unless_more_than_line_endings_changed_or_its_suite_is_another(plan, tmp_path):
    file = tmp_path / "plan.json"
    text = file.read_bytes()
    assert require_plan(tmp_path) == read_plan(tmp_path, "s") == plan
    with pytest.raises(ResultsError, match="holds results of the suite 's', not 't'; give another folder"):
        read_plan(tmp_path, "t")
    file.write_bytes(text.replace(b"\n", b"\r\n"))
    assert require_plan(tmp_path) == plan
    file.write_bytes(text.replace(b'"threads": 2', b'"threads": 1'))
    with pytest.raises(ResultsError, match=r"plan.json: .*its checksum does not match its content.*'--reuse"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("units", value) for value in ([3], [{"kind": "fit"}])),
        *(("threads", value) for value in (-1, "two")),
        *(("plugins", value) for value in ("x", ["../x.py"], ["/x.py"], ["x\0.py"])),
        ("values", 5),
        *(("units.0.key", value) for value in ("../../x", "a/b", "")),
        *(("units.0.seed", value) for value in (-1, 10**30, 1.5)),
        ("units.0.split", "tests"),
        ("units.0.requires", "/x"),
        ("units.0.payload", None),
    ],
)
def test_a_plan_with_an_invalid_field_is_refused(plan, tmp_path, field, value):
    file = tmp_path / "plan.json"
    content = parse_sealed(file.read_bytes())
    parent = content["units"][0] if "." in field else content
    parent[field.rpartition(".")[2]] = value
    write_sealed(file, content)
    with pytest.raises(ResultsError, match=r"plan\.json: cannot be read as a plan of gahbench \("):
        read_plan(tmp_path)


@pytest.mark.parametrize("fault", [*CONTENTS, "fifo", "folder", "socket", "zero", "loop"])
def test_a_plan_that_is_not_a_sealed_json_object_is_refused_and_does_not_block(tmp_path, fault):
    if fault in CONTENTS:
        (tmp_path / "plan.json").write_bytes(CONTENTS[fault])
    else:
        make_special(fault, tmp_path / "plan.json")
    with pytest.raises(ResultsError, match=r"plan\.json: "):
        read_plan(tmp_path)


def test_a_huge_plan_is_refused(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_file, "MAX_BYTES", 100)
    with pytest.raises(ResultsError, match=r"has [0-9,]+ bytes; accepted: up to 100"):
        read_plan(tmp_path)


def test_copies_of_plugins_hold_their_neighbours_and_are_kept_apart(tmp_path):
    mine, other = tmp_path / "mine.py", tmp_path / "other" / "yours.py"
    other.parent.mkdir()
    other.write_text("")
    mine.write_text("import _neighbour\n")
    (tmp_path / "_neighbour.py").write_text("X = 1\n")
    copied = copy_plugins([mine, other], tmp_path / "out")
    assert [Path(name).name for name in copied] == ["mine.py", "yours.py"]
    folders = [(tmp_path / "out" / name).parent for name in copied]
    files = [{file.name for file in folder.iterdir()} for folder in folders]
    assert files == [{"mine.py", "_neighbour.py"}, {"yours.py"}]
    # The copies of an earlier run do not change.
    mine.write_text("import _neighbour  # changed\n")
    assert set(copy_plugins([mine], tmp_path / "out")).isdisjoint(copied)
    assert (tmp_path / "out" / copied[0]).read_text() == "import _neighbour\n"
