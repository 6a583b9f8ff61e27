"""The campaign of damaged folders can fail."""

import pytest

from .damage import Damage
from .folders import attempt, whole


def test_an_attempt_notices_forged_scores(tmp_path, monkeypatch):
    """Here, nobody compares checksums."""
    monkeypatch.setattr("gahbench.store.finished._read", lambda folder, name, facts: (folder / name).read_bytes())
    monkeypatch.setattr("gahbench.store.finished.FinishedUnit.check", lambda *arguments, **options: None)
    entries = sorted((whole() / "out").rglob("*"))
    scores = [place for place, entry in enumerate(entries) if entry.name == "scores.csv"]
    identity = next(place for place in scores if '"identity"' in (entries[place].parent / "unit.json").read_text())
    flipped = Damage("text", identity, 0, 0.0, b"sigma,image,value,part\n0.1,0,99.0,\n")
    index = next(place for place, entry in enumerate(entries) if entry.name == "results.json")
    with pytest.raises(AssertionError):
        attempt([flipped, Damage("delete", index, 0, 0.0, None)], tmp_path)
