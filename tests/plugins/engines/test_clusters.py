"""Runs on a cluster finish despite losses, with the results of a run on a single machine."""

import contextlib
import os
import signal
import time

import pytest
from interrupted_runs import board, wait_for
from sample_files import PLUGIN

import gahbench

#: Kills the process that trains it, and the process from which that was forked.
POISON = """        if self.training:
            import signal, time
            time.sleep(1.0)
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        return noisy - self.noise(noisy)"""


@pytest.fixture
def poisoned(make, slow_steps, monkeypatch):
    """A function that starts a run with longer fits and a poison, and returns it once a fit has a checkpoint."""
    monkeypatch.setenv("SECONDS_PER_STEP", "5")

    def start(engine):
        run = make()
        (run.home / "poison.py").write_text(PLUGIN.format(name="poison", body=POISON))
        run.start(engine, "--plugins-dir", "poison.py", "--entrant", "poison")
        run.wait_for_checkpoints(1)
        return run

    return start


def check(run, whole):
    """Check that all units except the poison and its scores are done, with the results of a single machine."""
    assert run.process.poll() is None, run.printed()
    assert run.end(400) == 1, run.printed()
    (failure,) = run.out.glob("failures/*.json")
    assert "lost 3 times in a row" in failure.read_text()
    results = board(run.out)
    is_poison = results["entrant"] == "poison"
    assert "lost 3 times" in results.loc[is_poison, "note"].item()
    assert results[~is_poison].reset_index(drop=True).equals(board(whole).reset_index(drop=True)), run.printed()


class Chaos:
    """Failures in a Slurm cluster."""

    def __init__(self, cluster):
        self.cluster = cluster

    def running(self):
        """Return the running jobs."""
        return self.cluster.run("squeue", "-h", "-p", "low", "-t", "running", "-o", "%i", check=False).split()

    def kill(self, *words):
        """Kill a process of a job."""
        wait_for(lambda: self.cluster.processes(*words))
        os.kill(self.cluster.processes(*words)[0], signal.SIGKILL)

    def warn(self):
        """Send the signal of the time limit to a job, which is requeued."""
        wait_for(self.running)
        job = self.running()[-1]
        self.cluster.run("scancel", "--batch", "--signal=USR2", job)
        wait_for(lambda: job not in self.running())

    def cancel(self):
        """Cancel a job."""
        wait_for(self.running)
        self.cluster.run("scancel", self.running()[0])

    def lose_controller(self):
        """Kill the controller, and start a new controller from its saved state."""
        self.cluster.kill("slurmctld")
        time.sleep(2)
        self.cluster.start_controller()
        wait_for(self.cluster.states)

    def lose_touch(self, node):
        """Kill the daemon of a node; its jobs keep running while the controller marks the node as lost."""
        self.cluster.kill(node)
        wait_for(lambda: self.cluster.states().get(node, "").startswith("down"))
        self.cluster.start_node(node)

    def lose_node(self, node):
        """Kill all processes of a node, and restart it."""
        self.cluster.kill(node)
        for pid in self.cluster.processes(node=node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.cluster.start_node(node)

    def preempt(self):
        """Submit a job that preempts both nodes."""
        options = ["--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null"]
        job = self.cluster.run("sbatch", "--parsable", *options, "--wrap=sleep 3")
        wait_for(lambda: self.cluster.jobs().get(job) in ("RUNNING", "COMPLETED"))


@pytest.mark.extras("submitit")
def test_slurm_finishes_the_suite_despite_losses(poisoned, cluster, whole):
    run, chaos = poisoned("slurm[partition=low,workers=4,time=30]"), Chaos(cluster)
    chaos.warn()
    chaos.kill("submitit")
    chaos.kill("forkserver")
    chaos.cancel()
    chaos.lose_controller()
    chaos.lose_touch("n1")
    chaos.lose_node("n2")
    chaos.preempt()
    check(run, whole)


@pytest.mark.extras("distributed")
def test_dask_finishes_the_suite_despite_losses(poisoned, dask_cluster, whole):
    run = poisoned(f"dask[{dask_cluster.address}]")
    (worker,) = dask_cluster.children("w0")
    os.kill(worker, signal.SIGKILL)
    time.sleep(5)
    dask_cluster.kill("w1")
    dask_cluster.start_worker("w2")
    check(run, whole)


@pytest.mark.extras("distributed")
def test_a_stop_of_dask_lets_rows_write_checkpoints(make, dask_cluster):
    run = make()
    run.start(f"dask[{dask_cluster.address}]")
    run.wait_for_checkpoints(2)
    assert run.stop() == 130
    assert len(run.checkpoints()) == 2


@pytest.mark.extras("distributed")
def test_a_missing_scheduler_is_an_error(monkeypatch):
    monkeypatch.setattr("gahbench_plugins.engines.dask.TIMEOUT_SECONDS", 0.5)
    with pytest.raises(gahbench.GahbenchError, match=r"no scheduler of Dask answers at tcp://127\.0\.0\.1:9"):
        gahbench.create("engine", "dask[tcp://127.0.0.1:9]").start(None, None, None)
