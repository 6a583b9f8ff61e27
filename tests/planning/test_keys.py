"""Fields and edits that change keys, and those that do not."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from surroundings import copy_code

from gahbench._util.keys import key_of
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.planning.units import FIT, SCORE, PlannedDataset, Request, fit_unit, score_unit
from gahbench.registry.behaviour import function_digest
from gahbench.registry.registry import Registry
from gahbench.training.recipe import Training

ROOT = Path(__file__).parents[2]
LEARNED_FROM, PARTNER = {"split": "train", "count": None}, {"split": "B", "count": 5}
REQUEST = Request("train", "train", 24, [0.1, 0.2], 0, {"count": 4}, "auto", LEARNED_FROM, PARTNER)
#: By field of the request, a value that decides another outcome.
OTHERS = {
    "split": "test",
    "shown": "A",
    "images": 25,
    "sigmas": [0.1, 0.3],
    "noise_seed": 1,
    "sampling": {"count": 5},
    "jacobian_precision": "float32",
    "learned_from": {"split": "A", "count": 10},
    "partner_learned_from": {"split": "B", "count": 6},
}
#: Fields that decide a score only where the metric needs them, or the reference learns from what they name.
ONLY_FOR = {
    "sampling": {"sampling", "pair-cosine"},
    "jacobian_precision": {"spectrum"},
    "learned_from": {"pair-cosine", "distance", "empirical-bayes"},
    "partner_learned_from": {"pair-cosine"},
}


def score(builtin, request=REQUEST, metric="psnr", entrant="identity", dataset="discs[size=16]", **keywords):
    configured = builtin.configure("dataset", dataset)
    at = PlannedDataset(configured, configured.build())
    measured = builtin.configure("metric", metric)
    kind = "architecture" if entrant in builtin.names("architecture") else "reference"
    denoiser = builtin.configure(kind, entrant)
    return score_unit(at, denoiser, denoiser.label, measured, measured.build(), request, **keywords)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Request)])
@pytest.mark.parametrize(
    ("metric", "entrant"),
    [("psnr", "identity"), ("psnr", "empirical-bayes"), ("sampling", "identity"), ("pair-cosine", "identity"),
     ("distance", "identity"), ("spectrum", "identity")],
)  # fmt: skip
def test_every_field_of_a_request_decides_a_score(builtin, field, metric, entrant):
    before = score(builtin, metric=metric, entrant=entrant)
    changed = score(builtin, dataclasses.replace(REQUEST, **{field: OTHERS[field]}), metric, entrant)
    decides = field not in ONLY_FOR or bool(ONLY_FOR[field] & {metric, entrant})
    assert (changed.key != before.key) == decides
    # Scores of one column may stand side by side: all but the entrant, and what it learned from.
    beyond_entrant = field not in ("learned_from", "partner_learned_from")
    assert (changed.column != before.column) == (decides and beyond_entrant)


@pytest.mark.parametrize(
    ("change", "same_column"),
    [
        ({"metric": "ssim"}, False),
        ({"entrant": "gaussian-blur"}, True),
        ({"entrant": "unet"}, True),
        ({"dataset": "discs[size=32]"}, False),
        ({"dataset": "c-alpha[size=16]"}, False),
        ({"fit": "a fit", "seed": 0, "entrant": "unet"}, True),
    ],
)
def test_what_is_measured_and_on_what_decides_a_score(builtin, change, same_column):
    before, changed = score(builtin), score(builtin, **change)
    assert changed.key != before.key
    assert (changed.column == before.column) == same_column


def test_the_work_of_a_score_is_its_images_at_all_noise_levels(builtin):
    assert score(builtin).work == REQUEST.images * len(REQUEST.sigmas) == 48
    assert score(builtin).entrant_kind == "reference"
    assert score(builtin, entrant="unet", seed=0, fit="one").entrant_kind == "architecture"


def test_fits_and_partners_decide_scores(builtin):
    def key(metric, fit="one", partner="other"):
        return score(builtin, metric=metric, entrant="unet", seed=0, fit=fit, partner=partner).key

    assert key("psnr") != key("psnr", fit="another")
    assert key("psnr") == key("psnr", partner="another")
    assert key("pair-cosine") != key("pair-cosine", partner="another")


def test_units_name_the_partner_and_the_images_shown_where_they_count(builtin):
    def unit(metric, **changes):
        request = dataclasses.replace(REQUEST, **changes)
        return score(builtin, request, metric, entrant="unet", seed=0, fit="one", partner="other")

    assert (unit("psnr").partner, unit("pair-cosine").partner) == (None, "other")
    assert unit("psnr").needs == ("one",)
    assert "shown" not in unit("psnr").document
    # Equal to the split and not the same object, as after reading a file.
    shown = [unit("psnr", shown=split) for split in ("".join("train"), "A", "B")]
    assert [one.document.get("shown") for one in shown] == [None, "A", "B"]
    assert len({one.key for one in shown}) == len({one.column for one in shown}) == 3
    assert unit("psnr", split="A", shown="train").document["shown"] == "train"


def test_of_a_dataset_from_files_all_parameters_but_the_path_are_in_keys(builtin):
    # Whichever names come before and after "path".
    configured = builtin.configure("dataset", "faces[size=24]")
    document = PlannedDataset(configured, configured.build()).document
    assert set(document["parameters"]) == {parameter.name for parameter in configured.plugin.parameters} - {"path"}
    assert "colour" < "path" < "size"


def test_a_reference_that_does_not_say_so_learns_from_no_training_images(write_class):
    file = write_class("reference", '"""It derives from nothing."""', "bare", base="object")
    assert "learned_from" not in score(Registry((file,)), entrant="bare").document


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"steps": 6}},
        {"training": {"steps": 5, "learning_rate": 1e-3}},
        {"training": {"steps": 5, "batch_size": 5}},
        {"training": {"steps": 5, "recipe": "paper"}},
        {"training": {"steps": 5, "train_images": 7}},
        {"training": {"steps": 5, "split": "A"}},
        {"training": {"steps": 5, "snapshots": 2}},
        {"seed": 1},
        {"entrant": "unet[width=8]"},
        {"entrant": "bf-cnn"},
        {"dataset": "discs[size=32]"},
        {"dataset": "discs[size=16,seed=1]"},
    ],
)
def test_every_field_decides_a_fit(builtin, change):
    def key(training=None, seed=0, entrant="unet", dataset="discs[size=16]", half=None, work=1.0, label="unet"):
        configured = builtin.configure("dataset", dataset)
        at = PlannedDataset(configured, configured.build())
        recipe = Training.model_validate(training or {"steps": 5})
        return fit_unit(at, builtin.configure("architecture", entrant), label, recipe, seed, half, work).key

    assert key(**change) != key()
    assert key(half="A", work=2.0, label="another") == key()


def test_a_key_is_the_hash_of_the_document_that_the_unit_records(write_suite, builtin):
    plan = make_plan(load_suite(write_suite(), builtin), builtin)
    for unit in plan.units:
        assert unit.key == key_of(unit.document)
        code = FIT if unit.kind == "fit" else SCORE
        assert unit.document["code"] == function_digest(code)
        # As it is read back from a file.
        assert unit.key == key_of(json.loads(json.dumps(unit.document)))


#: Rows of edits that change scores of a network by its fit alone.
BY_THE_FIT = ("constant in the architecture or its helper", "constant in the trainer, its batches, the initialisation")


def table_in_the_guide():
    """Return the rows of the guide for contributors: whether an edit changes a fit, and scores of its network."""
    lines = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    start = next(place for place, row in enumerate(cells) if row[0] == "edit")
    return {row[0]: row[1:] for row in cells[start + 2 :] if len(row) == 5}


def test_which_keys_change_under_which_edits(tmp_path):
    for name, copy in (("gahbench", "gahbench"), ("plugins", "gahbench_plugins"), ("suites", "gahbench_suites")):
        copy_code(ROOT / name, tmp_path / copy)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("keys_under_edits.py"))],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    table, edits = table_in_the_guide(), json.loads(done.stdout)
    assert {row for row, _, _ in edits} == set(table)
    # The constants of a metric are of one column each.
    assert table.pop("constant in the metric") == ["", "its own", "its own", "its own"]
    for row, place, changed in edits:
        if row == "constant in the metric":
            assert changed == ["psnr of mine", "psnr of identity"]
            continue
        of_mine = ["fit of mine", "psnr of mine", "alignment[dct] of mine", "sampling of mine"]
        assert [unit in changed for unit in of_mine] == [bool(mark) for mark in table[row]], (row, place)
        of_identity = [bool(mark) and row not in BY_THE_FIT for mark in table[row][1:3]]
        assert [unit in changed for unit in ("psnr of identity", "alignment[dct] of identity")] == of_identity, row
