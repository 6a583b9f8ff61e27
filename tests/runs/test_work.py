"""Tests of ``gahbench work``: any number of processes finish a planned folder, even if some of them are killed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from interrupted_runs import board, children, times, wait_for, wait_for_checkpoint
from sample_files import PLUGIN, TINY

import gahbench
from gahbench._util.errors import ResultsError
from gahbench._util.resources import environment_seconds, python_environment
from gahbench.registry.registry import open_registry
from gahbench.runs.child import Child
from gahbench.runs.opening import plan_with
from gahbench.runs.running import record_plan
from gahbench.runs.status import status
from gahbench.runs.work import work
from gahbench.store.plan_file import require_plan, write_plan
from gahbench.store.store import Store

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("figures_not_rendered")]


def plan(suite, folder, plugins=(), entrants=(), threads=1):
    registry = open_registry(plugins)
    record_plan(plan_with(registry, suite, folder, entrants), folder, registry, threads)


@pytest.fixture
def out(long_run, tmp_path):
    """A results folder with the plan of a suite whose fits take seconds."""
    plan(long_run / "long.yaml", tmp_path / "out")
    return tmp_path / "out"


def start(folder, *options, **variables):
    return subprocess.Popen(
        [sys.executable, "-m", "gahbench", "work", str(folder), *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "GAHBENCH_CHECKPOINT_SECONDS": "0.02", **variables},
    )


def test_several_processes_share_the_units_and_give_the_same_board(long_run, out):
    processes = [start(out, "--workers", "1") for _ in range(2)]
    logs = [process.communicate(timeout=240)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    finished = re.findall(r"\d\d:\d\d:\d\d (.*): done in", "\n".join(logs))
    # Each unit was run once, and both processes ran some of the units.
    assert sorted(finished) == sorted(unit.label for unit in require_plan(out).units)
    assert all(": done in" in log for log in logs)
    assert board(out).equals(board(long_run / "whole"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_a_signal_ends_the_process_after_a_checkpoint_and_no_unit_fails(long_run, out, number):
    process = start(out, "--workers", "1")
    wait_for_checkpoint(out)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 130
    store = Store(out)
    assert store.failed() == set()
    assert list(store.leases.glob("[!.]*")) == []
    assert list(out.glob("units/fit-*.partial-*/checkpoint-*.pt"))
    before = times(out)
    assert work(out, workers=1).left == 0
    assert {file: times(out)[file] for file in before} == before
    assert board(out).equals(board(long_run / "whole"))
    assert not list(out.glob("units/*.partial*"))


def test_a_signal_to_all_processes_of_a_job_does_not_lose_the_unit(long_run, out):
    """Schedulers that confine jobs in control groups signal every process in them, in any order."""
    process = start(out, "--workers", "1")
    wait_for_checkpoint(out)
    for pid in children(process.pid):
        os.kill(pid, signal.SIGTERM)
    # If the worker had died, the process would notice within this time.
    time.sleep(1)
    process.terminate()
    log = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "SIGTERM" not in log
    assert list(Store(out).leases.glob("[!.]*")) == []


def test_the_unit_of_a_killed_process_is_taken_over(long_run, out):
    first = start(out, "--workers", "1")
    wait_for_checkpoint(out)
    second = start(out, "--workers", "1")
    first.kill()
    first.communicate()
    second.communicate(timeout=240)
    assert second.returncode == 0
    assert board(out).equals(board(long_run / "whole"))


def test_a_silent_process_loses_its_unit_and_discards_its_attempt(long_run, out):
    """Two attempts at the unit run, as if a machine were out of reach, and the first complete attempt counts."""
    lease = {"GAHBENCH_LEASE_SECONDS": "2"}
    first = start(out, "--workers", "1", **lease)
    wait_for_checkpoint(out)
    # Only the parent is stopped; its worker continues.
    first.send_signal(signal.SIGSTOP)
    second = start(out, "--workers", "1", **lease)
    log = second.communicate(timeout=240)[1]
    assert (second.returncode, log.count("failed:")) == (0, 0)
    before = times(out)
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert times(out) == before
    assert board(out).equals(board(long_run / "whole"))


def test_plugin_files_are_copied_into_the_folder(dry_runs_here, tmp_path):
    source = tmp_path / "mine"
    (source / "pack").mkdir(parents=True)
    (source / "tiny.yaml").write_text(TINY)
    (source / "helper.py").write_text("def again(x):\n    return x\n")
    body = "        from helper import again\n        return again(noisy - self.noise(noisy))"
    (source / "one.py").write_text(PLUGIN.format(name="one", body=body))
    (source / "pack" / "__init__.py").write_text(
        PLUGIN.format(name="packed", body="        return noisy * float(Path(FILE).read_text()) - self.noise(noisy)")
        + '\nfrom pathlib import Path\nFILE = Path(__file__).with_name("factor.txt")\n'
    )
    (source / "pack" / "factor.txt").write_text("1.0")
    plan(source / "tiny.yaml", tmp_path / "out", [source / "one.py", source / "pack"], ["one", "packed"])
    shutil.rmtree(source)
    outcome = work(tmp_path / "out", workers=1)
    assert (outcome.done, outcome.failed, outcome.left) == (13, 0, 0)
    assert {"one", "packed"} <= set(board(tmp_path / "out")["entrant"])


def test_changed_plugin_code_is_refused_and_no_unit_fails(dry_runs_here, write_suite, write_plugin, tmp_path):
    out, plugin = tmp_path / "out", write_plugin("mine", "return noisy - self.noise(noisy)")
    plan(write_suite(), out, [plugin], ["mine"])
    (copy,) = out.glob("plugins/*/mine.py")
    copy.write_text(copy.read_text().replace("noisy - self", "noisy + self"))
    with pytest.raises(ResultsError, match=r"mine.*plugins/mine\.py differ"):
        work(out, workers=1)
    store = Store(out)
    assert store.failed() == set()
    assert store.leases.is_dir()
    assert list(store.leases.glob("[!.]*")) == []


def test_changed_code_of_gahbench_is_refused_with_the_names_of_the_files(write_suite, tmp_path):
    out = tmp_path / "out"
    plan(write_suite(), out)
    before = require_plan(out)
    units = tuple(replace(unit, document={**unit.document, "code": "0" * 64}) for unit in before.units)
    write_plan(out, replace(before, units=units, code={**before.code, "gahbench/training/trainer.py": "1" * 64}))
    with pytest.raises(ResultsError, match=r"was planned with other code of gahbench: .*gahbench/training/trainer\.py"):
        work(out)


def test_a_unit_that_kills_its_processes_fails_with_the_reason(dry_runs_here, write_suite, write_plugin, tmp_path):
    out = tmp_path / "out"
    # Planning tries networks on the meta device.
    body = "import signal\nif noisy.device.type == 'meta':\n    return noisy\nos.kill(os.getppid(), signal.SIGKILL)"
    plugin = write_plugin("poison", body + "\nos._exit(1)")
    plan(write_suite(), out, [plugin], ["poison"])
    for _ in range(6):
        process = start(out, "--workers", "1")
        process.communicate(timeout=120)
        if process.returncode != -signal.SIGKILL:
            break
    assert process.returncode == 1
    current = status(out)
    assert (current.done, current.failed, current.blocked, current.waiting) == (7, 1, 2, 0)
    ((label, reason),) = current.failures
    assert ("poison" in label, "lost 3 times" in reason) == (True, True)
    # A failed unit is tried again only on request.
    assert work(out, workers=1).failed == 3


def test_status_shows_running_and_lost_units(long_run, out):
    assert (status(out).waiting, status(out).remaining) == (10, None)
    process = start(out, "--workers", "1")
    # References are scored first.
    wait_for(lambda: any(running.unit.kind == "fit" for running in status(out).running))
    (running,) = status(out).running
    assert (running.unit.kind, running.process, running.is_lost) == ("fit", process.pid, False)
    process.kill()
    process.communicate()
    (lost,) = status(out).running
    assert lost.is_lost
    work(out, workers=1)
    current = status(out)
    assert (current.done, current.waiting, current.remaining, current.running) == (10, 0, 0.0, ())


def test_a_worker_ends_if_its_parent_dies_while_sending_a_message(tmp_path):
    (tmp_path / "units").mkdir()
    child = Child("gahbench.runs.worker_process", 2, [str(tmp_path), "1", "cpu"], python_environment())
    wait_for(lambda: {"event": "ready"} in child.receive())
    child._socket.sendall(b'{"unit": {"kind": "fit", "ke')
    child._socket.close()
    assert child.process.wait(timeout=30) == 0


def test_invalid_seconds_in_environment_variables_are_refused(tmp_path, monkeypatch):
    (tmp_path / "plan.json").write_text("{}")
    process = start(tmp_path, GAHBENCH_LEASE_SECONDS="5m")
    assert "accepted: a number of seconds above 0" in process.communicate(timeout=60)[1]
    assert process.returncode == 2
    for text in ("0", "-1", "nan"):
        monkeypatch.setenv("GAHBENCH_LEASE_SECONDS", text)
        with pytest.raises(gahbench.GahbenchError, match="accepted: a number of seconds above 0"):
            environment_seconds("GAHBENCH_LEASE_SECONDS", 300.0)
