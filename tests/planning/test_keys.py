"""Keys of units: which fields and edits change them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from isolation import copy_code

from gahbench._util.records import key_of
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_entries import configure_entrant
from gahbench.planning.units import FIT, SCORE, PlannedDataset, Row, fit_unit, rows, score_request, score_unit
from gahbench.registry.behaviour import function_digest
from gahbench.registry.registry import Registry
from gahbench.registry.spec import parse_spec
from gahbench.training.recipe import Training

ROOT = Path(__file__).parents[2]
REQUEST = {
    "split": "train",
    "images": 24,
    "sigmas": [0.1, 0.2],
    "noise_seed": 0,
    "learned_from": {"split": "train", "count": None},
    "partner_learned_from": {"split": "B", "count": 5},
    "sampling": {"count": 4},
    "jacobian_precision": "auto",
}
#: Different values, by field of the request.
OTHERS = {
    "split": "A",
    "images": 25,
    "sigmas": [0.1, 0.3],
    "noise_seed": 1,
    "captured": True,
    "learned_from": {"split": "A", "count": 10},
    "partner_learned_from": {"split": "B", "count": 6},
    "sampling": {"count": 5},
    "jacobian_precision": "float32",
}
#: Fields that affect only the keys of some metrics and references.
ONLY_FOR = {
    "sampling": {"sampling", "pair-cosine"},
    "jacobian_precision": {"spectrum"},
    "learned_from": {"pair-cosine", "distance", "empirical-bayes"},
    "partner_learned_from": {"pair-cosine"},
}


def planned(builtin, dataset="discs[size=16]"):
    configured = builtin.configure("dataset", dataset)
    return PlannedDataset(configured, configured.build())


def score(builtin, metric="psnr", entrant="identity", dataset="discs[size=16]", split="train", request=(), **keywords):
    measure = builtin.configure("metric", metric)
    row = Row(configure_entrant(builtin, parse_spec(entrant)))
    given = REQUEST | dict(request)
    return score_unit(planned(builtin, dataset), row, measure, measure.build(), split, given, **keywords)


@pytest.mark.parametrize(
    ("metric", "entrant"),
    [("psnr", "identity"), ("psnr", "empirical-bayes"), ("sampling", "identity"), ("pair-cosine", "identity"),
     ("distance", "identity"), ("spectrum", "identity")],
)  # fmt: skip
def test_every_field_of_a_request_changes_the_key_of_a_score(builtin, write_suite, metric, entrant):
    suite = load_suite(write_suite(), builtin)
    dataset = PlannedDataset(suite.datasets[0], suite.datasets[0].build(), [0.1], {"test": 3})
    measured = suite.scoring.model_copy(update={"sigmas": ()})
    assert score_request(dataset, next(rows(suite)), measured, "test").keys() == {"dataset", "entrant", *OTHERS}
    before = score(builtin, metric, entrant)
    keys = {name: score(builtin, metric, entrant, request={name: value}).key for name, value in OTHERS.items()}
    assert {name for name, key in keys.items() if key != before.key} == {
        name for name in OTHERS if name not in ONLY_FOR or ONLY_FOR[name] & {metric, entrant}
    }
    assert score(builtin, metric, entrant, split="test").key != before.key


def test_metric_entrant_and_dataset_change_the_key_of_a_score(builtin):
    entrants = [{"entrant": "gaussian-blur"}, {"entrant": "unet"}, {"fits": ["a fit"], "seed": 0, "entrant": "unet"}]
    changes = [{}, {"metric": "ssim"}, *entrants, {"dataset": "discs[size=32]"}, {"dataset": "c-alpha[size=16]"}]
    assert len({score(builtin, **change).key for change in changes}) == len(changes)


def test_units_name_fits_partners_and_the_scored_split_if_they_matter(builtin):
    def unit(metric, fits=("one", "other"), split="train", shown="train"):
        return score(builtin, metric, "unet", split=split, request={"split": shown}, seed=0, fits=fits)

    assert unit("psnr").key != unit("psnr", ("another", "other")).key
    assert unit("psnr").key == unit("psnr", ("one", "another")).key
    assert unit("pair-cosine").key != unit("pair-cosine", ("one", "another")).key
    assert (unit("psnr").partner, unit("pair-cosine").partner) == (None, "other")
    assert unit("psnr").needs == ("one",)
    assert len({unit("psnr", shown=split).key for split in ("train", "A", "B")}) == 3


def test_keys_of_a_plain_reference_do_not_contain_training_images(write_class):
    file = write_class("reference", '"""It has no base class."""', "bare", base="object")
    assert "learned_from" not in score(Registry((file,)), entrant="bare").document


def test_every_field_changes_the_key_of_a_fit(builtin):
    def key(training=(), seed=0, entrant="unet", dataset="discs[size=16]", multiply_adds=1.0):
        recipe = Training.model_validate({"steps": 5, **dict(training)})
        row = Row(builtin.configure("architecture", entrant))
        return fit_unit(planned(builtin, dataset), row, recipe, seed, multiply_adds).key

    fields = {"steps": 6, "learning_rate": 1e-3, "batch_size": 5, "recipe": "paper", "train_images": 7, "split": "A"}
    changes = [{"training": {name: value}} for name, value in {**fields, "snapshots": 2}.items()]
    changes += [{"entrant": entrant} for entrant in ("unet[width=8]", "bf-cnn")]
    changes += [{"dataset": f"discs[size={size}]"} for size in ("32", "16,seed=1")]
    keys = {key(**change) for change in [{}, {"seed": 1}, *changes]}
    assert len(keys) == len(changes) + 2
    assert key(multiply_adds=2.0) == key({"halves": True}) == key()


def test_a_key_is_the_hash_of_the_document_that_the_unit_records(write_suite, builtin):
    plan = make_plan(load_suite(write_suite(), builtin))
    for unit in plan.units:
        assert unit.key == key_of(unit.document)
        code = FIT if unit.kind == "fit" else SCORE
        assert unit.document["code"] == function_digest(code)
        # The key also follows from the document read back from a file.
        assert unit.key == key_of(json.loads(json.dumps(unit.document)))


#: Rows of edits that change the scores of a network only through its fit.
BY_THE_FIT = ("constant in the architecture or its helper", "constant in the trainer, its batches, the initialisation")


def table_in_the_guide():
    """Return the table of CONTRIBUTING: whether an edit changes a fit, and scores of the network."""
    lines = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    start = next(index for index, row in enumerate(cells) if row[0] == "edit")
    return {row[0]: row[1:] for row in cells[start + 2 :] if len(row) == 5}


def test_keys_change_under_edits_as_documented(tmp_path):
    halves, edits = [], []
    for half in ("0", "1"):
        for name, package in (("gahbench", "gahbench"), ("plugins", "gahbench_plugins"), ("suites", "gahbench_suites")):
            copy_code(ROOT / name, tmp_path / half / package)
        command = [sys.executable, str(Path(__file__).with_name("keys_under_edits.py")), half]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / half)}
        pipe = subprocess.PIPE
        halves.append(subprocess.Popen(command, cwd=tmp_path / half, env=environment, stdout=pipe, stderr=pipe))
    for running in halves:
        output, errors = running.communicate()
        assert running.returncode == 0, errors
        edits += json.loads(output)
    table = table_in_the_guide()
    assert {row for row, _ in edits} == set(table)
    # A constant of a metric changes the scores of this metric only.
    assert table.pop("constant in the metric") == ["", "its own", "its own", "its own"]
    for row, changed in edits:
        if row == "constant in the metric":
            assert changed == ["psnr of mine", "psnr of identity"]
            continue
        network_units = ["fit of mine", "psnr of mine", "alignment[dct] of mine", "sampling of mine"]
        assert [unit in changed for unit in network_units] == [bool(mark) for mark in table[row]], row
        reference_units = [bool(mark) and row not in BY_THE_FIT for mark in table[row][1:3]]
        assert [unit in changed for unit in ("psnr of identity", "alignment[dct] of identity")] == reference_units, row
