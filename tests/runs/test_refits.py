"""Fits are trained again: what was stored must be what comes out."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from finished_units import forge_done
from safetensors.torch import load_file, save_file

import gahbench
from gahbench.devices.hardware import hardware
from gahbench.registry.registry import Registry
from gahbench.runs.verification import DEFAULT_SECONDS, refit, sample
from gahbench.runs.worker import Worker
from gahbench.store.plan_file import recorded_plan
from gahbench.store.store import Store

SUITE = """
name: refits
datasets: [{discs: {size: 12}}]
entrants: [{bf-cnn: {width: 3, layers: 3}}, {linear: {}}, identity]
seeds: [0, 1]
training: {steps: 3, batch_size: 2, validations: 1, snapshots: 2}
scoring: {sigmas: [0.1, 0.3], images: 4, metrics: [psnr, ssim]}
"""

pytestmark = pytest.mark.usefixtures("figures_not_rendered")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refits")
    (folder / "refits.yaml").write_text(SUITE)
    gahbench.run(folder / "refits.yaml", folder / "out", engine="inline", threads=torch.get_num_threads())
    return folder / "out"


@pytest.fixture
def folder(done, tmp_path):
    return Path(shutil.copytree(done, tmp_path / "out"))


def refit_of(folder, entrant="bf-cnn", fit=None):
    """Train a fit of a folder again in this process; return the repetition, and the units that were computed."""
    store, computed = Store(folder), []
    units = [unit for unit in recorded_plan(folder).shown if unit.folder in store.finished()]

    def run(target, pairs):
        worker = Worker(lambda: Registry(packages=()), target, hardware("cpu"))
        for unit, _ in pairs:
            worker.do(unit)
            computed.append(unit)

    fit = fit or fit_of(folder, entrant)
    (found,) = refit([fit], units, store, run)
    assert found.unit == fit
    return found, computed


def fit_of(folder, entrant="bf-cnn", seed=0):
    return next(
        unit
        for unit in recorded_plan(folder).shown
        if (unit.kind, unit.seed) == ("fit", seed) and unit.entrant.startswith(entrant)
    )


def edit(folder, unit, scale=None, file="weights.safetensors", **facts):
    """Edit the record of a unit, and scale its weights, with all checksums."""
    place = folder / "units" / unit.folder
    if scale is not None:
        save_file({name: scale * value for name, value in load_file(place / file).items()}, place / file)
    forge_done(place, *(() if scale is None else (file,)), **facts)


def elsewhere(folder, unit):
    """Return the environment of a unit on another processor."""
    return {"environment": {**Store(folder).done(unit)["environment"], "processor": "another"}}


@pytest.mark.parametrize("entrant", ["bf-cnn", "linear"])
def test_an_honest_fit_repeats_to_the_last_bit(folder, entrant):
    found, computed = refit_of(folder, entrant)
    assert (found.ending, found.detail) == ("equal", "")
    assert [unit.kind for unit in computed] == ["fit", "score"]


@pytest.mark.parametrize("file", ["weights.safetensors", "snapshot-1.safetensors"])
def test_other_weights_in_the_same_environment_are_named(folder, file):
    edit(folder, fit_of(folder), scale=1.02, file=file)
    found, computed = refit_of(folder)
    assert found.ending == "different"
    assert found.detail.startswith("its weights differ in the same environment: PSNR ")
    assert len(computed) == 2


@pytest.mark.parametrize("why", [{"resumed": True}, {"notes": ["begun in bfloat16, goes on in float32"]}, {}])
def test_weights_may_differ_where_a_part_was_trained_elsewhere(folder, why):
    fit = fit_of(folder)
    edit(folder, fit, scale=1 + 1e-6, **(why or elsewhere(folder, fit)))
    found, _ = refit_of(folder)
    assert found.ending == "close"
    assert found.detail == "its weights differ, and its PSNR does not"


def test_scores_of_another_network_are_named_in_any_environment(folder):
    fit = fit_of(folder)
    edit(folder, fit, scale=1.5, **elsewhere(folder, fit))
    score = next(unit for unit in recorded_plan(folder).shown if unit.requires == fit.key and unit.metric == "psnr")
    file = folder / "units" / score.folder / "scores.csv"
    head, *lines = file.read_text().splitlines()
    place = head.split(",").index("value")
    rows = [line.split(",") for line in lines]
    for row in rows:
        row[place] = repr(float(row[place]) + 30)
    file.write_text("\n".join([head, *map(",".join, rows)]) + "\n")
    forge_done(file.parent, file.name)
    found, computed = refit_of(folder)
    assert found.ending == "different"
    assert "from the mean of 3 seeds trained here, allowed are" in found.detail
    # One degree of freedom is stored, of the other row: two further seeds make it three.
    assert [unit.kind for unit in computed] == ["fit", "score"] * 3
    assert {unit.seed for unit in computed} == {0, 1, 2}


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"steps": 40}, "the field 'steps' is 40 in the folder, and 3 here"),
        ({"parameters": 1}, "the field 'parameters' is 1 in the folder, and"),
    ],
)
def test_facts_of_the_board_are_compared(folder, facts, says):
    edit(folder, fit_of(folder), **facts)
    found, _ = refit_of(folder)
    assert found.ending == "different"
    assert says in found.detail


def test_seconds_that_are_far_off_are_said(folder):
    edit(folder, fit_of(folder), train_seconds=5000.0)
    found, _ = refit_of(folder)
    assert found.ending == "equal"
    assert found.detail.endswith("here and 1 h 23 min in the folder")


def test_a_recipe_that_is_not_that_of_the_key_is_named(folder):
    fit = fit_of(folder)
    training = {**fit.payload["training"], "batch_size": 3}
    found, _ = refit_of(folder, fit=replace(fit, payload={**fit.payload, "training": training}))
    assert (found.ending, found.detail) == ("different", "its recipe and seed in plan.json are not those of its key")


def test_one_short_fit_is_chosen_by_default_and_any_on_request(folder):
    store = Store(folder)
    units = list(recorded_plan(folder).shown)
    for seed in (0, 1):
        edit(folder, fit_of(folder, "linear", seed), train_seconds=DEFAULT_SECONDS)
    by_default = [sample(units, store, None, random.Random(seed)) for seed in range(20)]
    assert {(len(one.chosen), one.among, one.trained) for one in by_default} == {(1, 2, 4)}
    assert {one.chosen[0].folder for one in by_default} == {fit_of(folder, seed=seed).folder for seed in (0, 1)}
    assert len(sample(units, store, 9, random.Random(0)).chosen) == 4
    assert sample(units, store, 0, random.Random(0)).chosen == ()
    without_psnr = [unit for unit in units if unit.metric != "psnr"]
    assert sample(without_psnr, store, 9, random.Random(0)).among == 0
