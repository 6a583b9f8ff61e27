"""The engine ``slurm`` on a real cluster, with a stand-in for ``gahbench work`` that takes no time to start."""

import re
import time

import pytest
from interrupted_runs import wait_for
from stand_in_work import Folder

import gahbench
from gahbench_plugins.engines import slurm


@pytest.fixture
def make(tmp_path, monkeypatch):
    return lambda seconds=(0.1,) * 6, *arguments, name="results": Folder(
        tmp_path / name, slurm, monkeypatch, seconds, *arguments
    )


def job_name(folder):
    return slurm._job_name(folder.path.resolve())


def alive_tasks(folder):
    return [task for task in slurm.Commands(job_name(folder)).tasks() if task.is_alive]


def test_units_are_finished_by_an_array(cluster, make):
    folder = make((0.5,) * 6, name="a b %j of 'c'")
    setup = "export FROM_SETUP='set up'"
    slurm.Slurm("low", time="1:00:00", memory="100M", cpus=2, workers=2, setup=setup, options="--nice=1").run(
        folder.job
    )
    assert folder.names("done") == [str(index) for index in range(6)]
    assert all(re.fullmatch(r"slurm-\d+_[01].log", file.name) for file in folder.path.glob("logs/*"))
    assert folder.logs().count("up 2 set up") == 2
    script = (folder.path / "slurm" / "job.sh").read_text()
    for line in ("--partition=low", "--time=1:00:00", "--mem=100M", "--nice=1", "--requeue", "--signal=B:USR2@120"):
        assert f"#SBATCH {line}\n" in script
    assert "submitted 2 tasks as job" in folder.notes()
    wait_for(lambda: not alive_tasks(folder))


def test_more_arrays_are_submitted_while_units_are_left(cluster, make):
    """Each task runs one unit, and ends."""
    folder = make((0.1,) * 5, "1")
    slurm.Slurm(workers=2).run(folder.job)
    assert len(folder.names("done")) == 5
    assert folder.notes().count("submitted 2 tasks") == 3


def test_arrays_that_die_are_submitted_only_a_few_times(cluster, make):
    folder = make()
    with pytest.raises(gahbench.GahbenchError) as raised:
        slurm.Slurm(workers=1, setup="echo no module named cuda; false").run(folder.job)
    assert "3 jobs in a row ended without finishing a unit (the last job: 1 failed" in str(raised.value)
    assert "no module named cuda\ngahbench: the setup of the engine failed" in str(raised.value)
    assert folder.notes().count("submitted 1 task ") == 3
    assert folder.names("todo") == [str(index) for index in range(6)]


def test_errors_of_sbatch_are_shown_in_full(cluster, make):
    folder = make()
    with pytest.raises(gahbench.GahbenchError, match=r"invalid partition specified: nowhere\n.*Invalid partition name"):
        slurm.Slurm("nowhere").run(folder.job)
    with pytest.raises(gahbench.GahbenchError, match=r"sbatch: .*nonsense"):
        slurm.Slurm(options="--nonsense").run(folder.job)


def test_after_a_stop_tasks_write_checkpoints_and_no_task_remains(cluster, make):
    folder = make((60.0,) * 6)
    folder.start(slurm.Slurm(workers=6))
    # With four processors two tasks wait.
    wait_for(lambda: len(folder.names("running")) == 4)
    folder.job.stop.set()
    folder.join(30)
    assert folder.logs().count("put back") == 4
    assert folder.logs().count("with status 130 cancelled") == 4
    assert len(folder.names("todo")) == 6
    assert not alive_tasks(folder)
    time.sleep(3)
    assert not alive_tasks(folder)
    assert folder.notes().count("submitted") == 1


def test_nothing_is_submitted_after_a_request_to_stop(cluster, make):
    folder = make()
    folder.job.stop.set()
    slurm.Slurm().run(folder.job)
    assert not folder.events
    assert slurm.Commands(job_name(folder)).tasks() == []


def test_a_task_continues_after_its_time_limit(cluster, make, monkeypatch):
    monkeypatch.setattr(slurm, "NOTICE_SECONDS", 20)
    folder = make((10.0,) * 6)
    folder.start(slurm.Slurm(time=1, workers=1))
    folder.join(180)
    assert "put back" in folder.logs()
    assert "with status 130 time" in folder.logs()
    assert "earlier restarts: 1" in folder.logs()
    assert folder.notes().count("submitted") == 1


def test_tasks_finish_while_the_controller_is_away(cluster, make):
    folder = make((3.0,) * 4)
    folder.start(slurm.Slurm(workers=2))
    wait_for(lambda: len(folder.names("running")) == 2)
    cluster.kill("slurmctld")
    try:
        wait_for(lambda: "following the results folder until Slurm answers" in folder.notes())
        # Tasks continue, and their end is detected in the folder.
        folder.join(60)
    finally:
        cluster.start_controller()
    assert len(folder.names("done")) == 4
    assert folder.notes().count("submitted") == 1


def test_tasks_cancelled_while_the_controller_is_away_are_replaced(cluster, make):
    folder = make((3.0,) * 4)
    folder.start(slurm.Slurm(workers=2))
    wait_for(lambda: len(folder.names("running")) == 2)
    cluster.run("scancel", "--name", job_name(folder))
    cluster.kill("slurmctld")
    wait_for(lambda: "following the results folder until Slurm answers" in folder.notes())
    cluster.start_controller()
    folder.join(90)
    assert len(folder.names("done")) == 4


def test_a_detached_run_continues_and_can_be_monitored(cluster, make):
    folder = make((1.0,) * 6)
    started = time.monotonic()
    slurm.Slurm(workers=2, detach=True).run(folder.job)
    assert time.monotonic() - started < 2
    assert f"`gahbench collect {folder.path}`" in folder.notes()
    wait_for(lambda: alive_tasks(folder))
    slurm.Slurm(workers=2, detach=True).run(folder.job)
    assert "none were added" in folder.notes()
    slurm.Slurm(workers=2).run(folder.job)
    assert len(folder.names("done")) == 6
    assert folder.notes().count("submitted") == 1


def test_without_slurm_the_error_says_where_to_run(monkeypatch, tmp_path, make):
    folder = make()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(gahbench.GahbenchError, match=r"missing from the PATH: sbatch, squeue, scancel.*login node"):
        slurm.Slurm().run(folder.job)


@pytest.mark.parametrize(("parameter", "value", "accepted"), [
    ("time", "2h", "hours:minutes:seconds"), ("time", "1-", "days-hours"),
    ("time", 2, "4 minutes or more"), ("time", "0:90", "4 minutes or more"),
    ("memory", "lots", "'8G'"), ("memory", "4000", "'8G'"),
    ("gpus", "a100", "'a100:2'"), ("gpus", "a100:0", "'a100:2'"),
    ("setup", "a\nb", "one line"), ("options", "--qos=a\n--qos=b", "one line"),
])  # fmt: skip
def test_values_that_slurm_would_misread_are_refused(parameter, value, accepted):
    with pytest.raises(ValueError, match=re.escape(accepted)):
        slurm.Slurm(**{parameter: value})


@pytest.mark.parametrize(("state", "reason", "is_alive"), [
    *((state, "None", True) for state in ("RUNNING", "COMPLETING", "A_STATE_OF_LATER_VERSIONS")),
    *(("PENDING", reason, True) for reason in ("BeginTime", "JobHeldUser")),
    ("PENDING", "launch failed requeued held", False),
    *((state, "None", False) for state in ("REQUEUE_HOLD", "COMPLETED", "OUT_OF_MEMORY", "NODE_FAIL")),
])  # fmt: skip
def test_tasks_are_alive_unless_they_ended_or_are_held(state, reason, is_alive):
    assert slurm.Task("1_0", state, reason).is_alive is is_alive
