"""The campaign of damaged folders detects forged scores."""

import pytest

from gahbench.store.units import FinishedUnit

from .damage import Damage
from .folders import attempt, finished_run


def test_an_attempt_detects_forged_scores(tmp_path, monkeypatch):
    """The comparison of checksums is disabled here."""
    monkeypatch.setattr(FinishedUnit, "read", lambda unit, name: (unit.folder / name).read_bytes())
    entries = sorted((finished_run() / "out").rglob("*"))
    scores = [index for index, entry in enumerate(entries) if entry.name == "scores.csv"]
    identity = next(index for index in scores if '"identity"' in (entries[index].parent / "unit.json").read_text())
    forged = Damage("text", identity, 0, 0.0, b"sigma,image,value,part\n0.1,0,99.0,\n")
    results = next(index for index, entry in enumerate(entries) if entry.name == "results.json")
    with pytest.raises(AssertionError):
        attempt([forged, Damage("delete", results, 0, 0.0, None)], tmp_path)
