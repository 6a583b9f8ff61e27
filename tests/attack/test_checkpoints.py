"""A few of the hostile checkpoints, and proof that the payloads among them are armed."""

import pickle

import pytest

from .array_files import Hostile, pt
from .checkpoints import CAMPAIGN, Case, attempt, state
from .harness import run


def test_no_checkpoint_does_harm():
    outcome = run(CAMPAIGN, 40, time_limit=60.0)
    assert outcome.cases == 40
    assert {place: finding.text for place, finding in outcome.findings.items()} == {}


def test_weights_that_fit_are_loaded(tmp_path):
    attempt(Case(".pt", pt(state("linear"), True), "linear", "denoise"), tmp_path)


def test_payloads_are_armed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Hostile()))
    assert (tmp_path / Hostile.marker).is_dir()
    with pytest.raises(AssertionError, match="a payload ran"):
        attempt(Case(".pt", pt(state("linear"), True), "linear", "denoise"), tmp_path)
