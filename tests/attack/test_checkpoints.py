"""The campaign of hostile checkpoints loads valid weights and detects payloads that run."""

import pickle

import pytest

from .array_files import Hostile, pt
from .checkpoints import Case, attempt, state


def test_valid_weights_are_loaded(tmp_path):
    attempt(Case(".pt", pt(state("linear"), True), "linear", "denoise"), tmp_path)


def test_a_payload_that_runs_is_detected(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Hostile()))
    assert (tmp_path / Hostile.marker).is_dir()
    with pytest.raises(AssertionError, match="a payload ran"):
        attempt(Case(".pt", pt(state("linear"), True), "linear", "denoise"), tmp_path)
