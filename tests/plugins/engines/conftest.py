"""Runs of a suite whose fits take seconds, in processes of their own, so that tests can stop, kill and repeat them."""

import contextlib
import signal
import subprocess
import sys

import pytest
from interrupted_runs import board, wait_for
from sample_files import PLUGIN, REFERENCES

import gahbench

#: Trains for a fixed time, independent of the load of the machine.
SLOW = """        if self.training:
            import time
            time.sleep(float(os.environ["SECONDS_PER_STEP"]))
        return noisy - self.noise(noisy)"""
#: A suite of six rows, four of them with a fit.
ENTRANTS = "entrants:\n  - slow: {width: [2, 3, 4, 5]}\n"
SUITE = REFERENCES.replace("entrants:\n", ENTRANTS).replace("steps: 12", "steps: 10")


class Run:
    """A run of the suite by an engine, in the folder ``out`` of a test."""

    def __init__(self, home, whole, name):
        self.home, self.out, self._whole, self.log = home, home / name, whole, home / "run.log"
        (home / "slow.py").write_text(PLUGIN.format(name="slow", body=SLOW))
        (home / "suite.yaml").write_text(SUITE)

    def start(self, engine, *more):
        """Start the run."""
        command = [sys.executable, "-m", "gahbench", "run", "suite.yaml", "--out", str(self.out), "--threads", "1"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--plugins-dir", "slow.py", "--engine", engine, *more], cwd=self.home, stdout=log, stderr=log
            )

    def end(self, seconds=400):
        """Return the exit status of the run."""
        return self.process.wait(timeout=seconds)

    def stop(self):
        """Interrupt the run, as Ctrl-C does, and return its exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.end(180)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def printed(self):
        return self.log.read_text()

    def checkpoints(self):
        """Return the fits that have written a checkpoint and are not finished."""
        return {file.parent.name.partition(".")[0] for file in self.out.glob("units/fit-*.partial-*/checkpoint-*.pt")}

    def wait_for_checkpoints(self, count):
        wait_for(lambda: len(self.checkpoints()) >= count, 600, self.printed)

    def check(self):
        """Check that the run ends with the board of a run on a single machine."""
        assert self.end() == 0, self.printed()
        assert board(self.out).equals(board(self._whole)), self.printed()


@pytest.fixture(scope="session")
def whole(build_once):
    """The results folder of the suite, run in this process."""

    def fill(home):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SECONDS_PER_STEP", "0")
            run = Run(home, None, "whole")
            engine, plugins = "inline", [home / "slow.py"]
            assert gahbench.run(home / "suite.yaml", run.out, plugins=plugins, engine=engine, threads=1).failed == 0

    return build_once("on-a-cluster", fill) / "whole"


@pytest.fixture
def slow_steps(monkeypatch):
    """The environment of slow fits with many checkpoints, which processes of a cluster inherit too."""
    monkeypatch.setenv("SECONDS_PER_STEP", "2")
    monkeypatch.setenv("GAHBENCH_CHECKPOINT_SECONDS", "0.5")


@pytest.fixture
def make(tmp_path, whole, slow_steps):
    """Return a function that returns a run; the run is killed at the end of the test."""
    with contextlib.ExitStack() as stack:

        def build(name="out"):
            run = Run(tmp_path, whole, name)
            stack.callback(lambda: hasattr(run, "process") and run.kill())
            return run

        yield build
