"""A few damaged folders; more by ``python -m tests.attack folders``."""

import shutil

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from .damage import Damage
from .folders import CAMPAIGN, attempt, whole


@pytest.fixture(scope="module", autouse=True)
def _prepared():
    CAMPAIGN.prepare()


@pytest.mark.usefixtures("dry_runs_here")
@seed(1)
@settings(
    max_examples=10,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(case=CAMPAIGN.strategy)
def test_what_is_shown_of_a_damaged_folder_was_written(case, tmp_path):
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    attempt(case, tmp_path)


def test_an_attempt_notices_what_was_not_written(tmp_path, monkeypatch):
    """The campaign can fail: here, nobody compares checksums."""
    monkeypatch.setattr("gahbench.store.finished._read", lambda folder, name, facts: (folder / name).read_bytes())
    monkeypatch.setattr("gahbench.store.finished.Finished.check", lambda *arguments, **options: None)
    entries = sorted((whole() / "out").rglob("*"))
    identity = next(
        place
        for place, entry in enumerate(entries)
        if entry.name == "scores.csv" and '"identity"' in (entry.parent / "unit.json").read_text()
    )
    flipped = Damage("text", identity, 0, 0.0, b"sigma,image,value,part\n0.1,0,99.0,\n")
    index = next(place for place, entry in enumerate(entries) if entry.name == "results.json")
    with pytest.raises(AssertionError):
        attempt([flipped, Damage("delete", index, 0, 0.0, None)], tmp_path)
