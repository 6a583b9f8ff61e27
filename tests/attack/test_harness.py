"""The harness finds known faults, and has no findings for accepted cases."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: The script runs in a separate process, since threads of pytest do not survive a fork.
SCRIPT = """
import dataclasses, json, sys
from tests.attack.faulty import campaign
from tests.attack.harness import run

results = {}
for case in sys.argv[1:]:
    outcome = run(campaign(case), 12, 0, 2, time_limit=5, memory_limit=2**28)
    findings = [[item.kind, item.location, item.count] for item in outcome.findings.values()]
    results[case] = [outcome.cases, outcome.hangs, outcome.errors, findings]
print(json.dumps(results))
"""
CASES = ("succeeds", "raises", "exits", "hangs", "dies", "eats memory", "empty", "two lines", "long", "surrogate")


@pytest.fixture(scope="module")
def results():
    done = subprocess.run([sys.executable, "-c", SCRIPT, *CASES], cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_accepted_and_refused_cases_are_not_findings(results):
    # Each of two processes draws each of three cases.
    assert results["succeeds"] == [6, 0, 0, []]


@pytest.mark.parametrize(
    ("case", "kind", "location"),
    [
        ("raises", "error", "RuntimeError in "),
        ("exits", "error", "SystemExit in "),
        ("hangs", "hang", "hang in "),
        ("dies", "end", "process ended by SIGABRT"),
        ("eats memory", "error", "MemoryError in "),
        *((case, "error", "UnreadableError in ") for case in ("empty", "two lines", "long", "surrogate")),
    ],
)
def test_a_fault_gives_one_finding_and_the_other_cases_still_run(results, case, kind, location):
    cases, hangs, errors, ((actual_kind, actual_location, count),) = results[case]
    assert (cases, hangs, errors) == ((6, 2, 0) if kind == "hang" else (6, 0, 2))
    assert (actual_kind, count) == (kind, 2)
    assert actual_location.startswith(location)


def test_a_campaign_with_findings_exits_with_status_1(tmp_path):
    code = (
        "import sys; from tests.attack import __main__ as main, faulty, specs; "
        "specs.CAMPAIGN = faulty.campaign('raises'); "
        "sys.exit(main.main(['specs', '--count', '9', '--processes', '1', '--keep', sys.argv[1]]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 1, done.stderr
    assert "1 times RuntimeError in " in done.stdout
    (file,) = tmp_path.iterdir()
    assert "case = 'raises'" in file.read_text()
