"""Death of worker processes, and of the process that started them."""

import os
import signal
import subprocess
import sys

import pytest
from interrupted_runs import board, children, is_alive, times, wait_for, wait_for_checkpoint
from sample_files import PLUGIN, TINY
from tiny_runs import plan_suite

import gahbench
from gahbench.store.store import Store

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("figures_not_rendered")]

DEATHS = {
    "raises": ("raise ValueError('no luck')", "ValueError: no luck"),
    "exits": ("os._exit(3)", "exited with status 3"),
    "segfaults": ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    "killed": ("import signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    "memory": ("return noisy + torch.zeros(1 << 45)", "out of memory"),
}


@pytest.fixture(scope="module")
def deaths(build_once):
    """A run in which some units die in different ways; its folder, with files of its output."""

    def fill(home):
        for name, (body, _) in DEATHS.items():
            (home / f"{name}.py").write_text(PLUGIN.format(name=name, body="        " + body))
        (home / "tiny.yaml").write_text(TINY)
        command = [sys.executable, "-m", "gahbench", "run", "tiny.yaml", "--out", "out", "--plugins-dir", "."]
        command += [argument for name in DEATHS for argument in ("--entrant", name)]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=480)
        for name in ("returncode", "stdout", "stderr"):
            (home / name).write_text(str(getattr(done, name)))

    return build_once("deaths", fill)


def test_other_units_finish_and_the_exit_status_reports_failures(deaths):
    assert (deaths / "returncode").read_text() == "1", (deaths / "stderr").read_text()
    board = gahbench.load_results(deaths / "out").leaderboard(full=True).set_index("entrant")
    alive = [name for name in board.index if name not in DEATHS]
    assert len(alive) == 3
    assert board.loc[alive, "psnr@0.1"].notna().all()
    assert "unet" in (deaths / "stdout").read_text()


@pytest.mark.parametrize("name", DEATHS)
def test_an_empty_row_states_the_reason(deaths, name):
    board = gahbench.load_results(deaths / "out").leaderboard(full=True).set_index("entrant")
    assert DEATHS[name][1] in board.loc[name, "note"]
    assert DEATHS[name][1] in (deaths / "stderr").read_text()


@pytest.mark.parametrize("how", ["kill the main process", "interrupt", "kill a worker"])
def test_an_interrupted_run_resumes(long_run, tmp_path, monkeypatch, how):
    """The board equals that of an uninterrupted run exactly, and finished units are not written again."""
    monkeypatch.setenv("GAHBENCH_CHECKPOINT_SECONDS", "0.02")
    out = tmp_path / "cut"
    command = [sys.executable, "-m", "gahbench", "run", str(long_run / "long.yaml"), "--out", str(out)]
    process = subprocess.Popen([*command, "--threads", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_checkpoint(out)
    workers = children(process.pid)
    assert workers
    if how == "kill a worker":
        os.kill(workers[0], signal.SIGKILL)
        # A single loss is not a failure: the unit is repeated from its checkpoint.
        assert process.wait(timeout=240) == 0
    else:
        process.send_signal(signal.SIGINT if how == "interrupt" else signal.SIGKILL)
        status = process.wait(timeout=60)
        assert status == (130 if how == "interrupt" else -signal.SIGKILL)
        assert list(out.glob("units/fit-*.partial-*/checkpoint-*.pt"))
    # No worker outlives the process that started it.
    wait_for(lambda: not any(map(is_alive, workers)), 30)
    before = times(out)
    outcome = gahbench.run(long_run / "long.yaml", out, threads=1)
    assert (outcome.done, outcome.failed) == (10, 0)
    assert {file: times(out)[file] for file in before} == before
    assert board(out).equals(board(long_run / "whole"))
    plan = plan_suite(long_run / "long.yaml")
    assert all(map(Store(out).is_done, plan.units))
    assert not list(out.glob("units/*.partial*"))


def test_a_plugin_that_changes_during_a_run_fails_its_units(write_suite, write_plugin, tmp_path):
    """The first unit edits the plugin and dies; the next worker must not run the changed plugin."""
    body = "if self.training:\n    open(__file__, 'a').write('torch.ones(1)\\n')\n    os._exit(3)\nreturn noisy"
    plugin = write_plugin("edits", body)
    file = write_suite(("baseline:", "seeds: [0, 1]\nbaseline:"))
    outcome = gahbench.run(file, tmp_path / "out", entrants=["edits"], plugins=[plugin], workers=1)
    errors = list(outcome.results.failures["error"])
    assert len(errors) == 2
    assert all("changed since this run was planned" in error for error in errors)
    assert (outcome.done, outcome.failed) == (2 + 4 + 4, 2 + 4)


def test_tied_weights_are_kept(write_suite, write_plugin, tmp_path):
    plugin = write_plugin("tied", "return noisy - self.noise(noisy)")
    text = plugin.read_text().replace("    def noise", "        self.twin = self.first\n\n    def noise")
    plugin.write_text(text)
    outcome = gahbench.run(
        write_suite(), tmp_path / "out", entrants=["tied"], plugins=[plugin], engine="inline[trusted=true]"
    )
    assert (outcome.done, outcome.failed) == (10, 0)
