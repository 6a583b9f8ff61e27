"""Processes of rows that die in every way, and the death of the process that started them."""

import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from interrupted_runs import board, is_alive, processes_of, times, wait_for, wait_for_checkpoint
from sample_files import PLUGIN, TINY
from tiny_runs import plan_suite

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.store.store import Store

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("figures_not_rendered")]

DEATHS = {
    "raises": ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
    "exits": ("print('last words', flush=True); os._exit(3)", "exited with status 3"),
    "segfaults": ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    "killed": ("import signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    "memory": ("return noisy + torch.zeros(1 << 45)", "can't allocate memory"),
    "hangs": (
        "import ctypes; ctypes.PyDLL(None).sleep(1000)",
        "took longer than 20 s, the limit of a unit in this suite",
    ),
}


@pytest.fixture(scope="module")
def deaths(build_once):
    """A run in which some units die in different ways; its folder, with files of its output."""

    def fill(home):
        for name, (body, _) in DEATHS.items():
            (home / f"{name}.py").write_text(PLUGIN.format(name=name, body="        " + body))
        (home / "tiny.yaml").write_text(TINY + "limits: {unit: 20}\n")
        command = [sys.executable, "-m", "gahbench", "run", "tiny.yaml", "--out", "out", "--plugins-dir", "."]
        command += [argument for name in DEATHS for argument in ("--entrant", name)]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=480)
        for name in ("returncode", "stdout", "stderr"):
            (home / name).write_text(str(getattr(done, name)))

    return build_once("deaths", fill)


def test_other_units_finish_and_empty_rows_state_the_reason(deaths):
    stderr, store = (deaths / "stderr").read_text(), Store(deaths / "out")
    assert (deaths / "returncode").read_text() == "1", stderr
    board = gahbench.load_results(deaths / "out").leaderboard(full=True).set_index("entrant")
    alive = [name for name in board.index if name not in DEATHS]
    assert len(alive) == 3
    assert board.loc[alive, "psnr@0.1"].notna().all()
    for name, (_, reason) in DEATHS.items():
        assert reason in board.loc[name, "note"]
        assert reason in stderr
    # The output of a process that ends is kept with the reason.
    (record,) = [record for record in map(store.failure_record, store.failed()) if record["entrant"] == "exits"]
    assert record["error"].endswith("the process of the row exited with status 3")
    assert "last words" in record["traceback"]


@pytest.fixture
def start(long_run, tmp_path, monkeypatch):
    """Start a run of the long suite in another process, with many checkpoints."""
    monkeypatch.setenv("GAHBENCH_CHECKPOINT_SECONDS", "0.02")
    started = []

    def start(*options, out=tmp_path / "cut"):
        command = [sys.executable, "-m", "gahbench", "run", str(long_run / "long.yaml"), "--out", str(out)]
        started.append(
            subprocess.Popen(
                [*command, "--threads", "1", *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("engine", ["local", "local[start=spawn]"])
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_an_interrupted_run_resumes_and_leaves_no_process(start, long_run, tmp_path, engine, number):
    """The board equals that of an uninterrupted run exactly, and finished units are not written again."""
    out, process = tmp_path / "cut", start("--engine", engine)
    wait_for_checkpoint(out)
    rows = processes_of(out)
    assert rows
    process.send_signal(getattr(signal, number))
    status = process.wait(timeout=60)
    assert status == (-signal.SIGKILL if number == "SIGKILL" else 130)
    assert list(out.glob("units/fit-*.partial-*/checkpoint-*.pt"))
    wait_for(lambda: not any(map(is_alive, rows)), 10)
    before = times(out)
    outcome = gahbench.run(long_run / "long.yaml", out, threads=1, engine=engine)
    assert (outcome.done, outcome.failed) == (10, 0)
    assert {file: times(out)[file] for file in before} == before
    assert board(out).equals(board(long_run / "whole"))
    units = plan_suite(long_run / "long.yaml").units
    assert Store(out).examine(units).undamaged.keys() == {unit.folder for unit in units}
    assert not list(out.glob("units/*.partial*"))


def test_a_second_ctrl_c_kills_rows_that_do_not_stop(start, tmp_path, write_plugin):
    plugin = write_plugin("waits", "import time\ntime.sleep(600)\nreturn noisy")
    process = start("--plugins-dir", str(plugin), "--entrant", "waits", "--only", "identity")
    wait_for(lambda: list((tmp_path / "cut").glob("units/fit-*.partial-*/progress.json")))
    rows = processes_of(tmp_path / "cut")
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    wait_for(lambda: not any(map(is_alive, rows)), 5)


def test_a_second_run_in_a_folder_is_refused_in_one_line(start, tmp_path):
    first = start()
    wait_for(lambda: (tmp_path / "cut" / "plan.json").is_file())
    second = start()
    assert second.wait(timeout=60) == 2
    (line,) = second.stderr.read().splitlines()
    assert re.search(rf"another run is at work in this folder \(host .*, process {first.pid}\)", line)
    assert first.poll() is None


def test_shards_share_a_folder_and_leave_the_board_to_leaderboard(start, long_run, tmp_path, command):
    shards = [start("--shard", f"{index}/2", "--workers", "1") for index in (1, 2)]
    wait_for_checkpoint(tmp_path / "cut")
    with pytest.raises(ResultsError, match="another run is at work in this folder"):
        gahbench.run(long_run / "long.yaml", tmp_path / "cut")
    assert [shard.wait(timeout=240) for shard in shards] == [0, 0]
    assert not (tmp_path / "cut" / "results.json").exists()
    assert command("leaderboard")(tmp_path / "cut")[0] == 0
    assert board(tmp_path / "cut").equals(board(long_run / "whole"))


SCRIPT = """
import torch
import gahbench
# OpenMP's threads run in this process before the fork server starts.
torch.ones(1000, 1000) @ torch.ones(1000, 1000)
outcome = gahbench.run("tiny.yaml", "out", quiet=True)
print(outcome.done, outcome.failed)
"""


def test_a_script_without_a_guard_runs_once(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert (done.stdout.splitlines(), done.returncode) == (["7 0"], 0), done.stderr


def test_a_row_gets_threads_environment_and_subprocesses(write_suite, write_plugin, tmp_path, monkeypatch):
    """Even after a run with other threads, in the same process, has started the fork server."""
    monkeypatch.setenv("SOME_VARIABLE", "here")
    body = (
        "import multiprocessing, threadpoolctl\n"
        "child = multiprocessing.get_context('fork').Process(target=print)\n"
        "child.start(); child.join()\n"
        "pools = {pool['num_threads'] for pool in threadpoolctl.threadpool_info()}\n"
        "told = os.environ['SOME_VARIABLE'], torch.get_num_threads(), sorted(pools), child.exitcode\n"
        "raise RuntimeError(*told)"
    )
    plugin = write_plugin("told", body)
    for threads in (1, 2):
        out = tmp_path / str(threads)
        outcome = gahbench.run(
            write_suite(), out, entrants=["told"], only=["identity"], plugins=[plugin], threads=threads
        )
        assert f"RuntimeError: ('here', {threads}, [{threads}], 0)" in set(outcome.results.failures["error"])


def test_a_plugin_that_changes_during_a_run_fails_its_units(write_suite, write_plugin, tmp_path):
    """The first unit edits the plugin and dies; the next process must not run the changed plugin."""
    body = "if self.training:\n    open(__file__, 'a').write('torch.ones(1)\\n')\n    os._exit(3)\nreturn noisy"
    plugin = write_plugin("edits", body)
    file = write_suite(("baseline:", "seeds: [0, 1]\nbaseline:"))
    outcome = gahbench.run(file, tmp_path / "out", entrants=["edits"], plugins=[plugin], workers=1)
    errors = list(outcome.results.failures["error"])
    assert len(errors) == 2
    assert all("changed since this run was planned" in error for error in errors)
    assert (outcome.done, outcome.failed) == (2 + 4 + 4, 2 + 4)


class Gpu:
    """A device, the first of which does not work."""

    is_accelerator = True

    def __init__(self, number):
        self.environment = {"GPU": str(number)}

    def __str__(self):
        return f"gpu:{self.environment['GPU']}"


@pytest.mark.parametrize("count", [1, 2])
def test_the_slot_of_a_lost_device_is_removed_and_the_last_ends_the_rows(monkeypatch, tmp_path, count):
    ran = []

    class Process:
        is_ready = False

        def __init__(self, function, row, stop, start):
            self.kill = lambda: None

        def run(self, variables):
            if variables["GPU"] == "0":
                raise RuntimeError("no memory")
            ran.append(variables["GPU"])

    monkeypatch.setattr("gahbench_plugins.engines.local.RowProcess", Process)
    monkeypatch.setattr("gahbench_plugins.engines.local.worker_devices", lambda *_: [Gpu(0), Gpu(1)][:count])
    engine = gahbench.create("engine", "local")
    engine.start(gahbench.Row(tmp_path, (), device="cuda"), None, threading.Event())
    jobs = [engine.submit(None, None) for _ in range(3)]
    wait_for(lambda: all(job.done() for job in jobs))
    errors = [job.exception() for job in jobs]
    engine.close()
    if count == 2:
        assert (ran, errors) == (["1"] * 3, [None] * 3)
    else:
        assert all("processes cannot start on device gpu:0: no memory. Run again once" in str(e) for e in errors)
