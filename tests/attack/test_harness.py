"""The harness and the campaigns find known faults, have no findings otherwise, and plugins harm no others."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from gahbench.store.units import FinishedUnit

from . import checkpoints, folders
from .array_files import Hostile, pt
from .damage import Damage
from .misbehaving import KINDS
from .plugins import attack

ROOT = Path(__file__).parents[2]
#: Quick kinds of misbehaviour, each from a different group; ``python -m tests.attack plugins`` runs all kinds.
MISBEHAVING = (
    "raise-stopped",
    "sleep-in-constructor",
    "exit-at-import",
    "close-everything",
    "fork-that-stays",
    "patch-randn-at-import",
    "patch-of-metric",
)
#: The script runs in a separate process, since threads of pytest do not survive a fork.
SCRIPT = """
import json, os, sys, time
from pathlib import Path
from hypothesis import strategies as st
from gahbench._util.errors import GahbenchError, ParameterError
from tests.attack import __main__ as main, specs
from tests.attack.harness import Campaign, accept_errors, run

class RawError(GahbenchError):
    def __str__(self):
        return str(self.args[0])

MESSAGES = {"empty": " ", "two lines": "one\\ntwo", "long": "x" * 4000, "surrogate": "\\ud800"}
FAULTS = {
    "raises": lambda: 1 / 0,
    "exits": lambda: sys.exit(0),
    "hangs": lambda: time.sleep(60),
    "dies": os.abort,
    "eats memory": lambda: [bytearray(2**24) for _ in range(64)],
}

def attempt(case, scratch):
    assert Path.cwd() == scratch and not any(scratch.iterdir())
    (scratch / "file").touch()
    FAULTS.get(case, int)()
    with accept_errors():
        if case == "is refused":
            raise ParameterError("the reason in one line")
        if case in MESSAGES:
            raise RawError(MESSAGES[case])

def campaign(case):
    return Campaign(st.sampled_from((case, "succeeds", "is refused")), attempt)

cases = ("succeeds", *FAULTS, *MESSAGES)
outcomes = {case: run(campaign(case), 12, seconds=5, memory=2**28) for case in cases}
specs.CAMPAIGN = campaign("raises")
status = main.main(["specs", "--count", "9", "--processes", "1"])
print(json.dumps([status, {case: [outcome.cases, outcome.counts] for case, outcome in outcomes.items()}]))
"""
LOCATIONS = {
    "raises": "ZeroDivisionError in ",
    "exits": "SystemExit in ",
    "hangs": "hang in ",
    "dies": "process ended by SIGABRT",
    "eats memory": "MemoryError in ",
    **dict.fromkeys(("empty", "two lines", "long", "surrogate"), "UnreadableError in "),
}


def test_a_fault_is_found_at_one_location_and_the_other_cases_still_run():
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    status, outcomes = json.loads(done.stdout.splitlines()[-1])
    # Each of three cases is drawn once.
    assert outcomes.pop("succeeds") == [3, {}]
    assert outcomes.keys() == LOCATIONS.keys()
    for case, (cases, counts) in outcomes.items():
        ((location, count),) = counts.items()
        assert (cases, count) == (3, 1), case
        assert location.startswith(LOCATIONS[case])
    assert (status, "1 times ZeroDivisionError in " in done.stdout) == (1, True)
    assert "case = 'raises'" in done.stderr


@pytest.mark.parametrize(
    ("names", "count"), [(("specs", "suites"), 100), (("checkpoints", "images"), 40), (("folders",), 10)], ids=str
)
def test_a_campaign_has_no_findings(names, count):
    command = [sys.executable, "-m", "tests.attack", *names, "--count", str(count), "--processes", "1", "--time", "60"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr[-10_000:]


def test_valid_weights_are_loaded_and_a_payload_that_runs_is_detected(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    valid = checkpoints.Case(".pt", pt(checkpoints.state("linear"), True), "linear", "denoise")
    checkpoints.attempt(valid, tmp_path)
    pickle.loads(pickle.dumps(Hostile()))
    assert (tmp_path / Hostile.marker).is_dir()
    with pytest.raises(AssertionError, match="a payload ran"):
        checkpoints.attempt(valid, tmp_path)


def test_forged_scores_are_detected_if_checksums_are_not_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(FinishedUnit, "read", lambda unit, name: (unit.folder / name).read_bytes())
    entries = sorted((folders.finished_run() / "out").rglob("*"))
    scores = [index for index, entry in enumerate(entries) if entry.name == "scores.csv"]
    identity = next(index for index in scores if '"identity"' in (entries[index].parent / "unit.json").read_text())
    forged = Damage("text", identity, 0, 0.0, b"sigma,image,value,part\n0.1,0,99.0,\n")
    results = next(index for index, entry in enumerate(entries) if entry.name == "results.json")
    with pytest.raises(AssertionError):
        folders.attempt([forged, Damage("delete", results, 0, 0.0, None)], tmp_path)


def test_misbehaving_plugins_affect_only_their_own_rows(tmp_path):
    assert attack([[KINDS[name] for name in MISBEHAVING]], tmp_path / "attack", unit=40.0) == {}
