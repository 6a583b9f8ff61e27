"""Tests of opening a run, in this process and in a child process."""

import errno
import subprocess
import sys

import pytest
import torch
from interrupted_runs import is_alive, wait_for

import gahbench
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_changes import SuiteChanges
from gahbench.registry.registry import Registry
from gahbench.runs import opening_process
from gahbench.runs.hooks import main_registry
from gahbench.runs.opening import OpenedRun, RunRequest, open_run
from gahbench.runs.opening_process import open_in_process
from gahbench.runs.running import _runs_code

pytestmark = pytest.mark.processes

#: A plugin file with a network, a reference, and code that runs at import or in the constructor of the reference.
PLUGIN = """
import os, time
import torch
import gahbench
from torch import nn

{at_import}

@gahbench.hookimpl
def register_architectures(register):
    register("thin", Thin)

@gahbench.hookimpl
def register_references(register):
    register("half", Half)

class Thin(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 3, padding=1)
    def forward(self, noisy, sigma):
        return noisy - self.layer(noisy)

class Half(gahbench.Reference):
    kind = "classical"
    def __init__(self):
        {at_init}
    def denoise(self, noisy, sigma, truth):
        return noisy / 2
"""


@pytest.fixture
def request_for(write_suite, tmp_path):
    """A function that writes a plugin file, and returns the request to run it."""

    def make(at_import="", at_init="pass", entrants=("thin", "half")):
        file = tmp_path / "outside.py"
        file.write_text(PLUGIN.format(at_import=at_import, at_init=at_init))
        return RunRequest(str(write_suite()), tmp_path / "out", SuiteChanges(tuple(entrants)), (file,))

    return make


def test_planning_in_a_child_process_gives_the_same_plan(dry_runs_here, request_for, tmp_path):
    request = request_for()
    in_child = open_in_process(request)
    in_this_process = open_run(request, Registry((tmp_path / "outside.py",)))
    assert in_child == in_this_process
    assert {unit.entrant for unit in in_child.units} >= {"thin", "half"}
    assert "gahbench_plugin_outside" in sys.modules  # Imported by ``open_run`` only; see the next test.


def test_side_effects_of_importing_a_plugin_stay_in_the_child_process(request_for):
    at_import = "torch.set_default_dtype(torch.float64); os.environ['MOVED'] = 'yes'; os.chdir('/')"
    request = request_for(at_import, entrants=("half",))
    code = (
        "import os, sys, torch; from gahbench.runs.opening_process import open_in_process;"
        "from gahbench.runs.opening import RunRequest;"
        "from gahbench.planning.suite_changes import SuiteChanges; from pathlib import PosixPath;"
        f"open_in_process({request!r});"
        "print(torch.get_default_dtype(), 'MOVED' in os.environ, 'gahbench_plugin_outside' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["torch.float32", "False", "False"]


@pytest.mark.parametrize(
    ("at_import", "message"),
    [
        ("os.abort()", r"outside\.py ended the process that plans, which was killed by SIGABRT"),
        ("time.sleep(1000)", r"outside\.py did not end within 2 s"),
        ("raise ValueError('no luck')", r"outside\.py:\d+: cannot be loaded: ValueError: no luck"),
        ("os.write(int(__import__('sys').argv[-1]), b'{\"opened\": 1}\\n'); os._exit(0)", r"exited with status 0"),
    ],
)
def test_the_error_names_a_plugin_that_ends_the_child_process(request_for, at_import, message):
    with pytest.raises(gahbench.GahbenchError, match=message):
        open_in_process(request_for(at_import), seconds=2.0 if "sleep" in at_import else 60.0)


def test_warnings_of_the_child_process_are_printed_as_single_lines(write_suite, request_for, capfd):
    request = request_for(entrants=("half",))
    write_suite(("sigmas: [0.1, 0.3]", "sigmas: [0.1, 2]"))
    open_in_process(request)
    lines = capfd.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("warning: ") for line in lines), lines


def test_a_model_saved_with_code_is_planned_in_a_child_process(write_suite, builtin, tmp_path, monkeypatch):
    torch.jit.save(torch.jit.trace(torch.nn.Conv2d(1, 1, 3, padding=1), torch.zeros(1, 1, 16, 16)), tmp_path / "m.pt")
    spec = f"torchscript[{tmp_path / 'm.pt'},sigma=none]"
    assert not _runs_code(RunRequest(str(write_suite())))
    assert _runs_code(RunRequest(str(write_suite()), changes=SuiteChanges((spec,))))
    doing = []
    monkeypatch.setattr("gahbench.registry.plugin.watch.report", doing.append)
    plan = make_plan(load_suite(write_suite(), builtin, [spec]), builtin)
    assert doing == ["reference 'torchscript[m.pt,sigma=none]'", ""]
    assert any(unit.entrant == "torchscript[m.pt,sigma=none]" for unit in plan.units)
    # If the reference has ended the child process once, planning continues without building the reference.
    monkeypatch.setattr("gahbench.registry.plugin.watch.broken", {doing[0]: "ended the process"})
    again = make_plan(load_suite(write_suite(), builtin, [spec]), builtin)
    assert [unit.key for unit in again.units] == [unit.key for unit in plan.units]


def test_a_reference_that_cannot_be_built_affects_only_its_own_row(request_for):
    opened = open_in_process(request_for(at_init="os._exit(3)"))
    assert {unit.entrant for unit in opened.units} >= {"thin", "half"}


def test_processes_started_by_a_plugin_end_with_the_child_process(request_for, tmp_path):
    mark = tmp_path / "child"
    open_in_process(
        request_for(f"if os.fork() == 0: open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(1000)")
    )
    wait_for(lambda: not is_alive(int(mark.read_text())), 20)


def test_errors_of_the_child_process_keep_their_type(request_for):
    with pytest.raises(gahbench.GahbenchError, match="unknown entrant 'thick'") as raised:
        open_in_process(request_for(entrants=("thick",)))
    with pytest.raises(type(raised.value)):
        open_run(request_for(entrants=("thick",)), Registry())


def test_a_record_that_names_units_outside_the_plan_is_refused(dry_runs_here, request_for, tmp_path):
    record = open_run(request_for(), Registry((tmp_path / "outside.py",))).record()
    with pytest.raises(gahbench.GahbenchError, match="another run has replaced the plan"):
        OpenedRun.from_record({**record, "todo": ["fit-0"]})


def test_only_plugins_with_lifecycle_hooks_are_loaded_in_the_main_process(tmp_path):
    quiet, watcher, engine = (tmp_path / f"{name}.py" for name in ("quiet", "watcher", "engine"))
    quiet.write_text(PLUGIN.format(at_import="", at_init="pass"))
    for file, hook in ((watcher, "unit_finished(unit, seconds)"), (engine, "register_engines(register)")):
        file.write_text(f"import gahbench\n@gahbench.hookimpl\ndef {hook}: pass\n")
    assert main_registry([quiet, watcher, engine], "processes").files == [watcher.resolve()]
    assert main_registry([tmp_path], "processes").files == [watcher.resolve()]
    assert main_registry([engine], "own[workers=2]").files == [engine.resolve()]


def test_a_full_disk_in_the_child_process_raises_an_os_error(monkeypatch):
    message = {"event": "os error", "errno": errno.ENOSPC, "error": "No space left on device", "file": "/out/plan.json"}
    monkeypatch.setattr(opening_process, "_plan_in_child", lambda *arguments: message)
    with pytest.raises(OSError, match=r"No space left on device: '/out/plan\.json'") as caught:
        opening_process.open_in_process(None)
    assert caught.value.errno == errno.ENOSPC
