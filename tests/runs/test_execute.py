"""Tests of execution with engines that run nothing: rows, losses, limits, notes and stops."""

import contextlib
import dataclasses
import errno
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gahbench
from gahbench._util.files import portable_origin
from gahbench.contracts.engines import Limits
from gahbench.contracts.unit import Unit
from gahbench.devices.hardware import Cuda
from gahbench.runs.execute import execute, pack, rows_of, worker_devices
from gahbench.runs.running import shard_of
from gahbench.store.store import Store


def make_unit(key, kind="fit", dataset="discs", entrant="unet", seed=0, requires=None, work=1.0, **payload):
    metric = "psnr" if kind == "score" else None
    return Unit(kind, key, dataset, entrant, "architecture", seed, None, metric, requires, work, payload)


FIT, SCORE, OTHER = make_unit("a"), make_unit("b", "score", requires="a"), make_unit("c", seed=1, work=5.0)


class Scripted(gahbench.Engine):
    """Calls a function for each row; what it raises is the end of the job."""

    def __init__(self, function):
        self.function, self.submitted = function, []

    def submit(self, function, row):
        self.submitted.append([unit.key for unit in row.units])
        job = Future()
        try:
            job.set_result(self.function(row))
        except Exception as error:
            job.set_exception(error)
        return job


@pytest.fixture
def run(tmp_path):
    """Execute units by a scripted engine; return the engine and the notes."""

    def run(units, function, **options):
        engine, notes = Scripted(function), []
        row = gahbench.Row(tmp_path, tuple(units), device="cpu", limits=Limits(unit=options.pop("limit", None)))
        stop = options.pop("stop", threading.Event())
        for name, value in options.items():
            setattr(engine, name, value)
        execute(row, engine, stop, notes.append)
        return engine, notes

    return run


def finish(store, unit):
    """Leave an attempt at a unit, which becomes the finished unit."""
    attempt = store.begin(unit)
    attempt.folder.rename(store.path(unit))


def finish_all(row):
    for unit in row.units:
        finish(Store(row.folder), unit)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("gahbench.runs.execute.POLL_SECONDS", 0.0)
    monkeypatch.setattr("gahbench.runs.execute.RETRY_SECONDS", 0.0)


def test_shards_are_refused_to_an_engine_for_other_machines():
    engine = Scripted(None)
    engine.remote = True
    with pytest.raises(gahbench.ParameterError, match="shard '1/2': the engine divides rows itself"):
        shard_of(None, "1/2", engine)


def test_references_of_a_dataset_share_rows_unless_they_come_from_a_plugin_file():
    built_in = [
        make_unit(f"{name}{metric}", "score", entrant=f"entrant {name}", seed=None)
        for name in range(10)
        for metric in "ps"
    ]
    own = dataclasses.replace(built_in[0], key="own", entrant="mine", payload={"entrant": {"origins": ["mine.py"]}})
    rows = sorted([unit.key for unit in row] for row in rows_of([*built_in, own]))
    assert rows == [[f"{name}{metric}" for name in names for metric in "ps"] for names in ("02468", "13579")] + [
        ["own"]
    ]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.integers(1, 8))
def test_packed_jobs_hold_each_unit_once_and_are_balanced(works, jobs):
    units = [make_unit(str(index), seed=index, work=work) for index, work in enumerate(works)]
    packed = pack(rows_of(units), jobs)
    assert sorted(unit.key for job in packed for unit in job) == sorted(unit.key for unit in units)
    loads = [sum(unit.work for unit in job) for job in packed]
    assert len(packed) == min(jobs, len(units))
    assert max(loads) <= sum(works) / len(packed) + max(works) + 1e-9


def test_all_rows_run_once_and_are_packed_if_the_engine_asks_for_it(run, tmp_path):
    # The longest row comes first. Datasets with equal images share a fit.
    shared = make_unit("e", "score", dataset="equal discs", requires="a")
    engine, notes = run([SCORE, FIT, OTHER, shared], finish_all)
    assert engine.submitted == [["c"], ["a", "b", "e"]]
    assert notes == []
    engine, _ = run([make_unit(key, seed=index) for index, key in enumerate("wxyz")], finish_all, jobs=2)
    assert sorted(map(len, engine.submitted)) == [2, 2]


def test_a_row_imports_only_the_plugin_files_that_its_units_name_and_scores_by_their_metrics_come_last(tmp_path):
    files = (tmp_path / "a.py", tmp_path / "b.py")
    for file in files:
        file.write_text(f"# {file}")
    own, built_in = {"origins": [portable_origin(str(files[1]))]}, {"origins": []}
    units = [make_unit(key, "score", metric=metric) for key, metric in (("own", own), ("psnr", built_in))]
    rows = []
    engine = Scripted(lambda row: rows.append(row) or finish_all(row))
    units.append(make_unit("other", "score", entrant="identity"))
    execute(gahbench.Row(tmp_path, tuple(units), files, device="cpu"), engine, threading.Event())
    assert {row.plugins: [unit.key for unit in row.units] for row in rows} == {
        files[1:]: ["psnr", "own"],
        (): ["other"],
    }


def test_a_unit_fails_after_three_losses_and_the_rest_of_its_row_runs(run, tmp_path):
    other = make_unit("d", "score")
    store = Store(tmp_path)

    def function(row):
        if row.units[0] == FIT:
            store.begin(FIT)
            raise RuntimeError("its process was killed\nthe end of its output")
        finish_all(row)

    engine, notes = run([FIT, SCORE, other], function)
    # The score of the failed network is not started.
    assert engine.submitted == [["a", "b", "d"]] * 3 + [["d"]]
    record = store.failure_record(FIT.folder)
    assert record["error"] == "lost 3 times in a row; the last time: its process was killed"
    assert record["traceback"] == "the end of its output"
    assert len(notes) == 2
    assert store.finished() == {other.folder}


def test_losses_with_newer_checkpoints_do_not_add_up(run, tmp_path):
    store, ends = Store(tmp_path), []

    def function(row):
        ends.append(0)
        if len(ends) == 8:
            return finish_all(row)
        attempt = store.begin(FIT)
        if len(ends) % 2:
            (attempt.folder / f"checkpoint-{len(ends)}.pt").write_bytes(b"")
        raise RuntimeError("killed")

    run([FIT], function)
    assert (len(ends), store.failed()) == (8, set())


def test_a_run_ends_if_no_job_begins_a_unit(run, tmp_path):
    with pytest.raises(gahbench.GahbenchError, match="rows do not start: no such module"):
        run([FIT, SCORE], lambda row: (_ for _ in ()).throw(RuntimeError("no such module\nlog")))
    assert Store(tmp_path).failed() == set()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ESTALE])
def test_a_full_disk_ends_the_run_and_other_errors_of_the_folder_are_waited_for(run, tmp_path, number):
    ends = []

    def function(row):
        ends.append(0)
        if len(ends) < 9:
            raise OSError(number, "no space")
        finish_all(row)

    with pytest.raises(OSError, match="no space") if number != errno.ESTALE else contextlib.nullcontext():
        assert len(run([FIT], function)[1]) == 8
    assert Store(tmp_path).failed() == set()
    assert Store(tmp_path).finished() == ({FIT.folder} if number == errno.ESTALE else set())


def test_a_unit_that_exceeds_its_limit_fails_at_once_with_its_stacks(run, tmp_path):
    def function(row):
        if row.units[0] == FIT:
            (tmp_path / "logs").mkdir()
            (tmp_path / "logs" / f"limit-{FIT.folder}-1.txt").write_text("Thread 1: in sleep")
            raise RuntimeError("exited with status 1")
        finish_all(row)

    run([FIT, SCORE], function, limit=90.0)
    record = Store(tmp_path).failure_record(FIT.folder)
    assert record["error"] == "took longer than 1 min 30 s, the limit of a unit in this suite"
    assert record["traceback"] == "Thread 1: in sleep"


def test_jobs_of_an_earlier_run_are_followed_and_not_submitted_again(run, tmp_path):
    row, job = gahbench.Row(tmp_path, (FIT, SCORE), device="cpu"), Future()
    finish_all(row)
    job.set_result(None)
    engine, _ = run([FIT, SCORE, OTHER], finish_all, earlier=lambda: [(row, job)])
    assert engine.submitted == [["c"]]


def test_nothing_is_submitted_after_a_stop_and_jobs_are_asked_to_end(run):
    stop = threading.Event()
    stop.set()
    assert run([FIT], finish_all, stop=stop)[0].submitted == []

    class Endless(Future):
        cancelled_by_run = False

        def done(self):
            stop.set()
            return self.cancelled_by_run

        def cancel(self):
            self.cancelled_by_run = True

    stop.clear()
    job = Endless()
    run([FIT], finish_all, stop=stop, submit=lambda function, row: job)
    assert job.cancelled_by_run


@pytest.fixture
def devices_of(monkeypatch):
    """Return a function that returns the devices of the rows of a unit, on GPUs of some gigabytes and processors."""

    def devices(unit, count=1, gigabytes=80, processors=16, threads=1, device="cuda", **options):
        monkeypatch.setattr(Cuda, "devices", classmethod(lambda cls: [cls(f"cuda:{index}") for index in range(count)]))
        monkeypatch.setattr(Cuda, "memory", gigabytes * (1 << 30))
        monkeypatch.setattr("gahbench.runs.execute.cpu_count", lambda: processors)
        return list(map(str, worker_devices(gahbench.Row(Path(), (unit,), (), threads, device), **options)))

    return devices


@pytest.mark.parametrize(
    ("work", "steps", "gigabytes", "processors", "rows"),
    [
        (1e9, 10, 80, 16, 4),  # A small network: as many rows as are useful.
        (1e9, 10, 16, 16, 2),  # Memory for two.
        (1e9, 10, 80, 3, 3),  # A processor for each.
        (1e15, 10, 80, 16, 1),  # A large network fills the GPU.
        (float("inf"), None, 80, 16, 1),
    ],
)
def test_small_networks_share_a_gpu_as_far_as_memory_and_processors_allow(
    devices_of, work, steps, gigabytes, processors, rows
):
    fit = make_unit("a", work=work, training={"steps": steps})
    assert devices_of(fit, gigabytes=gigabytes, processors=processors) == ["cuda:0"] * rows


def test_rows_are_spread_over_devices_in_turn_and_share_processors_without_any(devices_of):
    assert devices_of(SCORE, 2, workers=3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert devices_of(SCORE, 2, workers_per_gpu=2) == ["cuda:0", "cuda:1"] * 2
    assert len(devices_of(SCORE, processors=12, threads=5, device="cpu")) == 2
    with pytest.raises(gahbench.GahbenchError, match="device 'cuda' was requested, but this machine has none"):
        devices_of(SCORE, 0)
