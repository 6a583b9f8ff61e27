"""The engine ``slurm`` on a real cluster of two nodes with two processors each, without accounting."""

import re
import subprocess
import sys

import pytest
from interrupted_runs import wait_for

import gahbench

pytestmark = pytest.mark.extras("submitit")


def scripts(run):
    """Return the scripts of the jobs that were submitted."""
    return sorted(run.out.glob("slurm/*_submission.sh"))


def queue(cluster):
    """Return the jobs in the queue."""
    return cluster.run("squeue", "--noheader", "--format=%i").split()


def test_rows_are_packed_into_jobs(cluster, make, monkeypatch):
    monkeypatch.setenv("SECONDS_PER_STEP", "0")
    run = make("a b of 'c'")
    run.start("slurm[low,time=1:00:00,workers=2,setup=export NOTHING=1,options=--nice=1 --exclusive=user]")
    run.check()
    assert len(scripts(run)) == 2
    for line in ("partition=low", "time=1:00:00", "nice=1", "exclusive=user", "requeue", "cpus-per-task=1"):
        assert f"#SBATCH --{line}\n" in scripts(run)[0].read_text()
    assert not queue(cluster)


def test_a_stop_lets_jobs_write_checkpoints_and_leaves_none(cluster, make):
    run = make()
    # With four processors two jobs wait.
    run.start("slurm", "--workers", "6")
    run.wait_for_checkpoints(4)
    assert run.stop() == 130
    assert len(run.checkpoints()) == 4
    assert not queue(cluster)
    assert not cluster.processes("python")


def test_jobs_outlive_their_coordinator_and_are_found_again(cluster, make):
    run = make()
    run.start("slurm[workers=2]")
    run.wait_for_checkpoints(2)
    run.kill()
    run.start("slurm[workers=2]")
    run.check()
    assert len(scripts(run)) == 2


def test_a_detached_run_returns_at_once(cluster, make, monkeypatch):
    monkeypatch.setenv("SECONDS_PER_STEP", "0")
    run = make()
    for _ in range(2):
        run.start("slurm[workers=2,detach=true,options=--hold]")
        assert run.end() == 130, run.printed()
        assert "units to do: see 'gahbench status" in run.printed()
    assert len(scripts(run)) == 2
    cluster.run("scontrol", "release", ",".join(queue(cluster)))
    wait_for(lambda: not queue(cluster), 400)
    for command, text in (("status", "16 of 16 units done"), ("leaderboard", "slow[width=2]")):
        done = subprocess.run([sys.executable, "-m", "gahbench", command, run.out], capture_output=True, text=True)
        assert text in done.stdout, done.stderr
    run.start("local")
    run.check()


def test_jobs_that_cannot_start_are_submitted_only_a_few_times(cluster, make):
    run = make()
    run.start("slurm[workers=1,setup=echo no module named cuda; false]")
    assert run.end() == 2
    assert re.search(r"rows do not start: job 3 .*\n(.*\n)*no module named cuda\nthe setup failed", run.printed())
    assert len(scripts(run)) == 3
    assert not queue(cluster)


def test_faults_of_slurm_are_shown(cluster, make, monkeypatch):
    run = make()
    run.start("slurm[nowhere]")
    assert run.end() == 2
    assert "invalid partition specified: nowhere" in run.printed()
    monkeypatch.setenv("PATH", "")
    run.start("slurm")
    assert run.end() == 2
    assert re.search(r"needs\s+sbatch,\s+squeue.*\slogin\s+node", run.printed(), flags=re.DOTALL)


@pytest.mark.parametrize(("parameter", "value", "accepted"), [
    ("time", 2, "4"), ("options", "-p low", "--qos=long"), ("options", "--mem 8G", "--qos=long"),
])  # fmt: skip
def test_values_that_slurm_would_misread_are_refused(parameter, value, accepted):
    with pytest.raises(gahbench.ParameterError, match=accepted):
        gahbench.create("engine", "slurm", **{parameter: value})
