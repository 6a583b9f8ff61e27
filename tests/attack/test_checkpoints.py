"""Proof that the payloads among hostile checkpoints are armed."""

import pickle

import pytest

from .array_files import Hostile, pt
from .checkpoints import Case, attempt, state


def test_weights_that_fit_are_loaded(tmp_path):
    attempt(Case(".pt", pt(state("linear"), True), "linear", "denoise"), tmp_path)


def test_payloads_are_armed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Hostile()))
    assert (tmp_path / Hostile.marker).is_dir()
    with pytest.raises(AssertionError, match="a payload ran"):
        attempt(Case(".pt", pt(state("linear"), True), "linear", "denoise"), tmp_path)
