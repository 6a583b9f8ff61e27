"""Cheats fail or are flagged, unless SECURITY.md says "out of reach"."""

import json

import pytest
import torch

import gahbench
from gahbench.evaluation import evaluation as evaluations
from gahbench.evaluation.audit import audit, audit_repetition, check_claimed_risk
from gahbench.evaluation.measurement import Measurement, Subject

from . import cheating_plugins, cheats

REQUEST = {"split": "test", "images": 24, "sigmas": [0.005, 0.1, 0.2, 0.4], "noise_seed": 0}


def score_cheat(cheat, monkeypatch):
    """Score a cheat in this process, like a worker; return its outcome and its flags."""
    monkeypatch.setattr(evaluations, "evaluation_noise", evaluations.evaluation_noise)
    dataset = gahbench.create("dataset", "c-alpha", size=16)
    metrics = [gahbench.create("metric", name) for name in ("psnr", "ssim")]
    # Use a measurement for each metric, since each may be measured in a separate process.
    measurements = [Measurement(dataset, Subject(cheat), REQUEST, torch.device("cpu")) for _ in metrics]
    try:
        for measurement, metric in zip(measurements, metrics, strict=True):
            measurement.score(metric)
        check_claimed_risk(measurements[0].evaluation)
    except ValueError as error:
        return "failed", (str(error),)
    flags = (*audit(measurements[0].evaluation).flags, *audit_repetition(measurements[1].evaluation).flags)
    return ("flagged" if flags else "out of reach"), flags


def test_security_documents_every_cheat():
    assert sorted(cheats.documented_outcomes()) == sorted(cheat.name for cheat in cheating_plugins.CHEATS)


@pytest.mark.parametrize("cheat", cheating_plugins.CHEATS, ids=lambda cheat: cheat.name)
def test_a_cheat_has_the_documented_outcome(cheat, monkeypatch):
    if cheat is cheating_plugins.NoCheck:
        pytest.skip("replaces the check in its process, which here runs the tests")
    outcome, flags = score_cheat(cheat, monkeypatch)
    assert outcome == cheats.documented_outcomes()[cheat.name], flags


def test_the_board_flags_a_cheat_and_no_honest_rows(tmp_path):
    name = "cheat-patient"
    assert cheats.run_cheat(name, tmp_path) == ("flagged", [])
    folder = tmp_path / name
    index = json.loads((folder / "results.json").read_text())
    assert {(flag["dataset"], flag["entrant"]) for flag in index["flags"]} == {("c-alpha[alpha=2,size=16]", name)}
    (row,) = [line for line in (folder / "leaderboard.md").read_text().splitlines() if line.startswith("| 1!")]
    assert "Cheat patient" in row
    note = "flagged: is better on the test images than elsewhere"
    assert f"- Cheat patient: {note}" in (folder / "leaderboard.md").read_text()
    board = gahbench.load_results(folder).leaderboard(full=True).set_index("entrant")
    assert board.loc[name, "note"].startswith("flagged: ")
