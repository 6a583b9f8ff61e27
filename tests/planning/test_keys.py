"""What changes keys, field by field and edit by edit, and what does not."""

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
from gahbench.registry.behaviour import computed_by
from gahbench.registry.registry import Registry
from gahbench.training.recipe import Training

ROOT = Path(__file__).parents[2]
REQUEST = Request(
    split="train",
    shown="train",
    images=24,
    sigmas=[0.1, 0.2],
    noise_seed=0,
    sampling={"count": 4},
    jacobian_precision="auto",
    learned_from={"split": "train", "count": None},
    partner_learned_from={"split": "B", "count": 5},
)
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


def test_a_reference_that_does_not_say_so_learns_from_no_training_images(tmp_path):
    (tmp_path / "bare.py").write_text(
        "import gahbench\n\n\n@gahbench.hookimpl\ndef register_references(register):\n"
        '    register("bare", Bare)\n\n\nclass Bare:\n    """It derives from nothing."""\n'
    )
    assert "learned_from" not in score(Registry((tmp_path / "bare.py",)), entrant="bare").document


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"steps": 6}},
        {"training": {"steps": 5, "learning_rate": 1e-3}},
        {"training": {"steps": 5, "train_images": 7}},
        {"training": {"steps": 5, "split": "A"}},
        {"training": {"steps": 5, "snapshots": 2}},
        {"seed": 1},
        {"entrant": "unet[width=8]"},
        {"entrant": "bf-cnn"},
        {"dataset": "discs[size=32]"},
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
        assert unit.document["code"] == computed_by(code)
        # As it is read back from a file.
        assert unit.key == key_of(json.loads(json.dumps(unit.document)))


#: Rows of the table of edits: an architecture's fit, and scores of it, and of a reference.
FITS = ["fit of mine"]
OF_MINE = ["psnr of mine", "alignment[dct] of mine", "sampling of mine"]
OF_IDENTITY = ["psnr of identity", "alignment[dct] of identity"]
ALL = [*FITS, *OF_MINE, *OF_IDENTITY]
NONE: list[str] = []
TABLE = {
    "docstring of the plugin": NONE,
    "docstring of the noise": NONE,
    "docstring of the trainer": NONE,
    "comment in the plugin": NONE,
    "comment in the trainer": NONE,
    "formatting of the plugin": NONE,
    "annotation in the plugin": NONE,
    "annotation in the noise": NONE,
    "import of the plugin renamed": NONE,
    "modules moved": NONE,
    "constant in the plugin": [*FITS, *OF_MINE],
    "constant in its helper": [*FITS, *OF_MINE],
    "constant in the dataset": ALL,
    "constant in the seeds": ALL,
    # A fit need not be done again for it, and is: the trainer measures the validation PSNR of its history under it.
    "constant in the evaluation noise": ALL,
    "constant in the trainer": [*FITS, *OF_MINE],
    "constant in the batches": [*FITS, *OF_MINE],
    "constant in the initialisation": [*FITS, *OF_MINE],
    "constant in the evaluation": [*OF_MINE, *OF_IDENTITY],
    "constant in the metric psnr": ["psnr of mine", "psnr of identity"],
    "constant in the alignment": ["alignment[dct] of mine", "alignment[dct] of identity"],
    "constant in the Jacobian": ["alignment[dct] of mine", "alignment[dct] of identity"],
    "constant in the sampler": ["sampling of mine"],
    "constant in the planning": NONE,
    "constant in the store": NONE,
    "constant in the board": NONE,
    "constant in the report": NONE,
    "constant in the command line": NONE,
}


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
    found = json.loads(done.stdout)
    assert found == TABLE


#: The edits that a row of the table in the guide for contributors stands for.
DOCUMENTED = {
    "docstring, comment, formatting or annotation, anywhere": ("docstring", "comment", "formatting", "annotation"),
    "module moved, import renamed": ("modules moved", "import of"),
    "constant in the architecture or its helper": ("constant in the plugin", "constant in its helper"),
    "constant in the dataset": ("constant in the dataset",),
    "constant in the seeds": ("constant in the seeds",),
    "constant in the noise of evaluation": ("constant in the evaluation noise",),
    "constant in the trainer, its batches, the initialisation": (
        "constant in the trainer",
        "constant in the batches",
        "constant in the initialisation",
    ),
    "constant in the evaluation": ("constant in the evaluation",),
    "constant in alignment": ("constant in the alignment",),
    "constant in the Jacobians": ("constant in the Jacobian",),
    "constant in the sampler": ("constant in the sampler",),
    "constant in planning, store, board, report, command line": (
        "constant in the planning",
        "constant in the store",
        "constant in the board",
        "constant in the report",
        "constant in the command line",
    ),
}


def test_the_guide_for_contributors_has_the_table():
    lines = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    start = next(place for place, row in enumerate(cells) if row[0] == "edit")
    rows = {row[0]: row[1:] for row in cells[start + 2 :] if len(row) == 5}
    # The metric's own constants are of one column each.
    assert rows.pop("constant in the metric") == ["", "its own", "its own", "its own"]
    assert list(rows) == list(DOCUMENTED)
    seen = set()
    for name, marks in rows.items():
        edits = {edit for edit in TABLE if edit.startswith(DOCUMENTED[name])}
        if name == "constant in the evaluation":
            edits.discard("constant in the evaluation noise")
        seen |= edits
        for edit in edits:
            changed = [row in TABLE[edit] for row in [*FITS, *OF_MINE]]
            assert changed == [bool(mark) for mark in marks], (name, edit)
    assert seen == set(TABLE) - {"constant in the metric psnr"}
