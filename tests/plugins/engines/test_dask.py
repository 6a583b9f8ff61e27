"""The engine ``dask`` on a real cluster, with a stand-in for ``gahbench work``."""

import os
import re
import signal
import sys

import pytest
from interrupted_runs import wait_for
from stand_in_work import Folder

import gahbench
from gahbench_plugins.engines import dask

pytestmark = pytest.mark.extras("distributed")


@pytest.fixture
def make(tmp_path, monkeypatch):
    def folder(seconds=(0.5,) * 6, *arguments):
        return Folder(tmp_path / "results", dask, monkeypatch, seconds, *arguments)

    return folder


def starts(folder):
    return folder.logs().count("up ")


def test_units_are_finished_by_a_task_on_each_worker(dask_cluster, make):
    folder = make((1.0,) * 6)
    dask.Dask(dask_cluster.address).run(folder.job)
    assert folder.names("done") == [str(index) for index in range(6)]
    assert len(list(folder.path.glob("logs/dask-127.0.0.1-*.log"))) == 2
    assert starts(folder) == 2
    assert "2 of 2 workers are at work" in folder.notes()


def test_tasks_are_replaced_while_units_are_left(dask_cluster, make):
    folder = make((0.1,) * 5, "1")
    dask.Dask(dask_cluster.address, workers=1).run(folder.job)
    assert len(folder.names("done")) == 5
    assert starts(folder) == 5


def test_tasks_that_die_are_replaced_only_a_few_times(dask_cluster, make, monkeypatch):
    folder = make()
    monkeypatch.setattr(dask, "work_command", lambda job: [sys.executable, "-c", "raise SystemExit('no luck')"])
    with pytest.raises(
        gahbench.GahbenchError, match=r"in a row ended without finishing a unit, with 6 left.*\n.*no luck"
    ):
        dask.Dask(dask_cluster.address).run(folder.job)


def test_a_stop_lets_tasks_write_checkpoints(dask_cluster, make):
    folder = make((60.0,) * 6)
    folder.start(dask.Dask(dask_cluster.address))
    wait_for(lambda: len(folder.names("running")) == 2)
    folder.job.stop.set()
    folder.join(30)
    assert folder.logs().count("put back") == 2
    assert len(folder.names("todo")) == 6


@pytest.mark.parametrize("victim", ["worker", "nanny", "worker, by its nanny"])
def test_a_lost_worker_ends_its_process_and_is_replaced(dask_cluster, make, victim):
    # There are units left when a new worker has started, even on a busy machine.
    folder = make((2.0,) * 12)
    folder.start(dask.Dask(dask_cluster.address))
    wait_for(lambda: len(folder.names("running")) == 2)
    (worker,) = dask_cluster.children("w0")
    if victim == "worker":
        os.kill(worker, signal.SIGKILL)
    elif victim == "nanny":
        dask_cluster.kill("w0")
    else:
        dask_cluster.processes["w0"].terminate()
    # The process of the lost worker puts its unit back, and does not outlive its worker.
    wait_for(lambda: "put back" in folder.logs())
    folder.join(60)
    assert len(folder.names("done")) == 12
    assert starts(folder) == (3 if victim == "worker" else 2)


@pytest.mark.parametrize("dask_cluster", [4], indirect=True)
def test_a_frozen_machine_is_not_waited_for(dask_cluster, make):
    """When the worker, its nanny and the process are frozen, another worker takes over; waking them does no harm."""
    folder = make((3.0,) * 6)
    folder.start(dask.Dask(dask_cluster.address))
    wait_for(lambda: len(folder.names("running")) == 2)
    frozen = dask_cluster.freeze("w0")
    try:
        folder.join(60)
        assert len(folder.names("done")) == 6
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)


def test_a_worker_that_joins_gets_a_task(dask_cluster, make):
    # More units than can finish before the worker is up.
    folder = make((1.0,) * 200)
    folder.start(dask.Dask(dask_cluster.address))
    wait_for(lambda: len(folder.names("running")) == 2)
    dask_cluster.start_worker("w2")
    wait_for(lambda: len(folder.names("running")) == 3, 90)
    folder.job.stop.set()
    folder.join(60)
    assert starts(folder) == 3


@pytest.mark.parametrize("dask_cluster", [4], indirect=True)
def test_units_finish_after_the_scheduler_was_lost(dask_cluster, make):
    folder = make((2.0,) * 6)
    folder.start(dask.Dask(dask_cluster.address))
    wait_for(lambda: len(folder.names("running")) == 2)
    dask_cluster.kill("scheduler")
    wait_for(lambda: "following the results folder" in folder.notes())
    dask_cluster.start_scheduler()
    # Workers end with their scheduler, and their nannies may start new workers.
    dask_cluster.start_worker("w2")
    folder.join(90)
    assert len(folder.names("done")) == 6


def test_a_missing_scheduler_is_an_error(make, monkeypatch):
    folder = make()
    monkeypatch.setattr(dask, "TIMEOUT_SECONDS", 1.0)
    with pytest.raises(gahbench.GahbenchError, match=re.escape("no scheduler of Dask answers at tcp://127.0.0.1:9")):
        dask.Dask("tcp://127.0.0.1:9").run(folder.job)
