"""Runs on a cluster finish despite losses, with the results of a run on a single machine."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from interrupted_runs import wait_for

import gahbench

#: Trains for a fixed time, independent of the load of the machine.
SLOW = """if self.training:
    import time
    time.sleep(float(os.environ["SECONDS_PER_STEP"]))
return noisy - self.noise(noisy)"""
#: Kills the worker that trains it and its supervisor.
POISON = """if self.training:
    import signal, time
    time.sleep(1.0)
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
return noisy - self.noise(noisy)"""


@pytest.fixture
def prepare(tmp_path, monkeypatch, write_suite, write_plugin):
    """Write a suite with slow fits, and its plugins."""
    monkeypatch.setenv("GAHBENCH_LEASE_SECONDS", "6")
    monkeypatch.setenv("GAHBENCH_CHECKPOINT_SECONDS", "0.5")
    monkeypatch.setenv("SECONDS_PER_STEP", "1.0")
    write_plugin("slow", SLOW)
    write_plugin("poison", POISON)

    def write(fits):
        entrants = "".join(f"  - slow: {{width: {width}}}\n" for width in range(2, 2 + fits))
        write_suite(("steps: 12", "steps: 20"), ("entrants:\n", "entrants:\n" + entrants))
        return tmp_path

    return write


def command(home, out, *more):
    plugins = ["--plugins-dir", str(home / "plugins")]
    suite = [str(home / "tiny.yaml"), "--out", str(home / out), "--threads", "1"]
    return [sys.executable, "-m", "gahbench", "run", *suite, *plugins, *more]


@contextlib.contextmanager
def running(home, engine):
    """Run the suite in a single process, then on an engine with the poison; yield while the engine works."""
    out, log = home / "cut", home / "cut.log"
    alone = command(home, "whole", "--engine", "inline[trusted=true]")
    subprocess.run(alone, env={**os.environ, "SECONDS_PER_STEP": "0"}, check=True, capture_output=True, timeout=240)
    with log.open("w") as written:
        cut = command(home, "cut", "--engine", engine, "--entrant", "poison")
        run = subprocess.Popen(cut, stdout=written, stderr=written)
    try:
        wait_for(lambda: list(out.glob("units/fit-*.partial-*/checkpoint-*.pt")), 180, log.read_text)
        yield
        assert run.poll() is None, log.read_text()
        assert run.wait(timeout=240) == 1, log.read_text()
    finally:
        run.kill()
        run.wait()


def check(home):
    """Check that all units except the poison and its dependents are done, with the results of a single machine."""
    out, whole = home / "cut", home / "whole"
    failures = {file.stem: json.loads(file.read_text())["error"] for file in out.glob("failures/*.json")}
    ((poison, reason),) = failures.items()
    assert "lost 3 times with its worker process" in reason
    finished = {folder.name for folder in out.glob("units/*") if not folder.name.startswith(poison)}
    assert {folder.name for folder in whole.glob("units/*")} == finished
    assert not list(out.glob("leases/*"))
    boards = [
        gahbench.load_results(folder).leaderboard(full=True).drop(columns=["train_seconds", "seconds_per_megapixel"])
        for folder in (out, whole)
    ]
    is_poison = boards[0]["entrant"] == "poison"
    assert "lost 3 times" in boards[0].loc[is_poison, "note"].item()
    assert boards[0][~is_poison].reset_index(drop=True).equals(boards[1].reset_index(drop=True))


class Chaos:
    """Failures in a Slurm cluster."""

    def __init__(self, cluster):
        self.cluster = cluster

    def running(self):
        """Return the running tasks with their nodes."""
        lines = self.cluster.run("squeue", "-h", "-r", "-p", "low", "-t", "running", "-o", "%i %N", check=False)
        return [line.split() for line in lines.splitlines()]

    def processes_of_node(self, name):
        """Return the processes of a node."""
        result = []
        for pid in self.cluster.processes():
            with contextlib.suppress(OSError):
                if f"SLURMD_NODENAME={name}".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    result.append(pid)
        return result

    def kill(self, *words):
        """Kill a process of a job."""
        wait_for(lambda: self.cluster.processes(*words))
        os.kill(self.cluster.processes(*words)[0], signal.SIGKILL)

    def warn(self, logs):
        """Send the signal of the time limit to a task."""
        task = self.running()[-1][0]
        self.cluster.run("scancel", "--batch", "--signal=USR2", task)
        wait_for(lambda: f"task {task} ends with status 130 time" in (logs / f"slurm-{task}.log").read_text())

    def cancel(self):
        """Cancel a task."""
        wait_for(self.running)
        self.cluster.run("scancel", self.running()[0][0])

    def lose_controller(self):
        """Kill the controller, and start a new controller from its saved state."""
        self.cluster.kill("slurmctld")
        time.sleep(2)
        self.cluster.start_controller()
        wait_for(self.cluster.states)

    def lose_touch(self, node):
        """Kill the daemon of a node; its tasks keep running while the controller marks the node as lost."""
        self.cluster.kill(node)
        wait_for(lambda: self.cluster.states().get(node, "").startswith("down"))
        self.cluster.start_node(node)

    def lose_node(self, node):
        """Kill all processes of a node, and restart it."""
        self.cluster.kill(node)
        for pid in self.processes_of_node(node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.cluster.start_node(node)

    def preempt(self):
        """Submit a job that preempts both nodes."""
        options = ["--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null"]
        job = self.cluster.run("sbatch", "--parsable", *options, "--wrap=sleep 3")
        wait_for(lambda: self.cluster.jobs().get(job) in ("RUNNING", "COMPLETED"))


def test_slurm_finishes_the_suite_despite_losses(prepare, cluster):
    home, chaos = prepare(8), Chaos(cluster)
    with running(home, "slurm[partition=low,workers=4,time=30]"):
        chaos.warn(home / "cut" / "logs")
        chaos.kill("gahbench work")
        chaos.kill("worker_process")
        chaos.cancel()
        chaos.lose_controller()
        chaos.lose_touch("n1")
        chaos.lose_node("n2")
        chaos.preempt()
    check(home)


@pytest.mark.extras("distributed")
def test_dask_finishes_the_suite_despite_losses(prepare, dask_cluster):
    home = prepare(6)
    with running(home, f"dask[scheduler={dask_cluster.address}]"):
        (worker,) = dask_cluster.children("w0")
        os.kill(worker, signal.SIGKILL)
        dask_cluster.kill("w1")
        dask_cluster.start_worker("w2")
        wait_for(lambda: len(list(home.glob("cut/logs/dask-*.log"))) == 4)
        frozen = dask_cluster.freeze("w2")
        # The frozen worker wakes after the scheduler has removed it and its leases have expired.
        time.sleep(8)
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    check(home)
