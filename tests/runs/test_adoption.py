"""Tests of units measured with earlier code: they are left off the board, reported, and adopted on request."""

import json
import shutil

import pytest
from finished_units import forge_done
from other_machine import change_weights
from tiny_runs import entrants as rows
from tiny_runs import units_of

import gahbench
from gahbench._util.errors import ResultsError
from gahbench._util.keys import key_of
from gahbench.runs import adoption
from gahbench.runs.adoption import adopt
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered", "rows_not_audited")

FADE = """
def __init__(self, weight: float = 0.5):
    self.weight = weight

def denoise(self, noisy, sigma, truth):
    return {}"""


@pytest.fixture
def fade(write_class):
    """A function that writes a reference plugin whose result is given by an expression."""

    def write(code="self.weight * noisy"):
        return write_class("reference", FADE.format(code), "fade")

    return write


def run(suite, out, *entrants, **options):
    return gahbench.run(suite, out, entrants=entrants, engine="inline[trusted=true]", **options)


def units(folder):
    return {path.name for path in (folder / "units").iterdir()}


@pytest.fixture
def references(write_suite):
    return write_suite(("  - unet: {width: 2, levels: 1}\n", ""))


def test_added_rows_measured_with_earlier_plugin_code_are_left_out_and_reported(references, fade, tmp_path, command):
    out = tmp_path / "out"
    file = fade()
    assert "fade[weight=0.25]" in rows(run(references, out, "fade[weight=0.25]", plugins=[file]))
    # While the code is unchanged, the row stays, whether or not another row of the plugin is added.
    again = run(references, out, "fade[weight=0.75]", plugins=[file])
    assert {"fade[weight=0.25]", "fade[weight=0.75]"} <= rows(again)
    assert again.outdated == ()
    assert "fade[weight=0.25]" in rows(run(references, out, plugins=[file]))
    fade("self.weight * noisy / 2")
    arguments = (references, "--out", out, "-p", file, "--engine", "inline[trusted=true]", "-e", "fade[weight=0.75]")
    status, printed, errors = command("run")(*arguments)
    for text in (
        "not shown, since run with earlier code: fade[weight=0.25]",
        f"2 units in {out} were run with other code or settings",
        f"to accept units in which only the code differs: gahbench adopt {out} -p {file}",
    ):
        assert text in errors
    assert (status, "fade[weight=0.75]" in printed, "fade[weight=0.25]" in printed) == (0, True, False)


@pytest.mark.usefixtures("units_here")
def test_adopted_units_get_current_keys_and_record_their_adoption(references, fade, tmp_path):
    out = tmp_path / "out"
    file = fade()
    first = run(references, out, "fade", plugins=[file])
    before = units(out)
    scores = first.scores
    fade("noisy * self.weight")
    outcome = adopt(out, plugins=[file])
    assert (len(outcome.adopted), outcome.current, outcome.refused) == (2, len(before) - 2, [])
    assert {path for adopted in outcome.adopted for path in adopted.differs} == {"entrant.source"}
    store = Store(out)
    for adopted in outcome.adopted:
        record = json.loads((store.path(adopted.unit) / "unit.json").read_bytes())
        assert record["key"] == adopted.unit.key != adopted.former
        assert record["adopted"] == [{"from": adopted.former, "differs": ["entrant.source"]}]
        store.verify(store.path(adopted.unit))
    # The recorded plan describes the units as the current code plans them, so that they can be computed again.
    verification = gahbench.verify(out, units=100, fits=0, workers=1, plugins=[file])
    assert verification.repeats
    assert len(verification.rescored) == sum(name.startswith("score-") for name in units(out))
    after = units(out)
    again = run(references, out, "fade", plugins=[file])
    assert units(out) == after
    assert again.scores.equals(scores)
    board = again.leaderboard(full=True).set_index("entrant")["note"]
    assert "measured with earlier code, adopted" in board["fade"]
    assert "adopted" not in board["identity"]
    # An adopted unit is adopted again when the code changes again, and both adoptions are recorded.
    fade("1 * self.weight * noisy")
    (adopted, *_) = adopt(out, plugins=[file]).adopted
    assert len(json.loads((store.path(adopted.unit) / "unit.json").read_bytes())["adopted"]) == 2


def test_adopted_scores_keep_the_weights_that_they_measured(references, write_plugin, tmp_path):
    """Reuse does not take a network whose weights differ from those that the scores measured."""
    file = write_plugin("mine", "return noisy - self.noise(noisy)")
    for name in ("out", "other"):
        run(references, tmp_path / name, "mine", plugins=[file])
    write_plugin("mine", "return -self.noise(noisy) + noisy")
    for name in ("out", "other"):
        adopt(tmp_path / name, plugins=[file])
    store = Store(tmp_path / "out")
    (fit,) = units_of(store.folder, kind="fit", entrant="mine")
    weights = store.done_record(fit)["files"]["weights.safetensors"]["sha256"]
    scores = units_of(store.folder, kind="score", entrant="mine")
    assert [store.done_record(unit)["networks"] for unit in scores] == [{fit.key: weights}] * 2
    change_weights(tmp_path / "other")
    shutil.rmtree(store.path(fit))
    outcome = run(references, tmp_path / "out", "mine", plugins=[file], reuse=[tmp_path / "other"])
    assert [unit.key for unit in outcome.reused.other_weights] == [fit.key]


def test_the_newest_of_several_versions_is_adopted_and_the_others_are_kept(references, write_plugin, tmp_path):
    """Scores are adopted together with the network that they measured, and no version is lost."""
    out = tmp_path / "out"
    bodies = [f"return {scale} * noisy + 0 * self.noise(noisy)" for scale in (0.25, 0.5, 0.75)]
    for body in bodies:
        last = run(references, out, "mine", plugins=[write_plugin("mine", body)])
    scores = last.scores
    before = units(out)
    file = write_plugin("mine", "return noisy * 0.75 + 0 * self.noise(noisy)")
    outcome = adopt(out, plugins=[file])
    assert sorted(adopted.unit.kind for adopted in outcome.adopted) == ["fit", "score", "score"]
    assert (outcome.superseded, outcome.refused) == (6, [])
    assert len(units(out)) == len(before)
    again = run(references, out, "mine", plugins=[file])
    assert (again.failed, again.scores.equals(scores)) == (0, True)
    assert len(units(out)) == len(before)
    # After a return to the first version, its units are current, so nothing is adopted.
    file = write_plugin("mine", bodies[0])
    run(references, out, "mine", plugins=[file])
    assert len(units(out)) == len(before)
    outcome = adopt(out, plugins=[file])
    assert (outcome.adopted, outcome.superseded) == ([], 6)


def test_an_interrupted_adoption_can_be_continued(references, write_plugin, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(references, out, "mine", plugins=[write_plugin("mine", "return noisy - self.noise(noisy)")])
    file = write_plugin("mine", "return -self.noise(noisy) + noisy")
    move = adoption._move_to_new_key
    moved = []

    def interrupt(*arguments):
        if moved:
            raise KeyboardInterrupt
        moved.append(move(*arguments))

    monkeypatch.setattr(adoption, "_move_to_new_key", interrupt)
    with pytest.raises(KeyboardInterrupt):
        adopt(out, plugins=[file])
    monkeypatch.undo()
    outcome = adopt(out, plugins=[file])
    assert sorted(adopted.unit.kind for adopted in outcome.adopted) == ["score", "score"]
    assert outcome.refused == []
    done = units(out)
    assert run(references, out, "mine", plugins=[file]).failed == 0
    assert units(out) == done


def test_a_unit_that_differs_in_more_than_code_is_not_adopted(out):
    unit, _ = units_of(out, entrant="identity")
    folder, record = Store(out).path(unit), unit.record()
    record["document"]["noise_seed"] = 5
    record["key"] = key_of(record["document"])
    (folder / "unit.json").write_text(json.dumps(record))
    moved = folder.with_name(f"score-{record['key']}")
    folder.rename(moved)
    forge_done(moved, "unit.json")
    outcome = adopt(out)
    ((label, reason),) = outcome.refused
    assert ("identity" in label, "not only code differs: noise_seed" in reason) == (True, True)
    assert (outcome.adopted, moved.is_dir()) == ([], True)


def test_only_results_folders_with_units_are_accepted(out, tmp_path):
    with pytest.raises(ResultsError, match="expected a results folder"):
        adopt(tmp_path / "nothing")
    shutil.rmtree(out / "units")
    with pytest.raises(ResultsError, match="holds no finished units"):
        adopt(out)


def test_a_damaged_unit_is_not_adopted(out, command):
    next((out / "units").glob("score-*/scores.csv")).write_text("nothing")
    status, printed, _ = command("adopt")(out)
    assert status == 1
    assert "0 units adopted, 6 already up to date, 1 refused" in printed
    assert "damaged" in printed
