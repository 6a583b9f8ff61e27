"""Tests of verification: files are compared with checksums, and samples of scores and fits computed again."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finished_units import forge_done
from safetensors.torch import load_file, save_file
from sample_files import HALF
from tiny_runs import run, run_for_fixture, units_of

from gahbench._util.errors import ResultsError
from gahbench.devices.hardware import hardware
from gahbench.registry.registry import Registry
from gahbench.runs.agreement import (
    SIGNIFICANCE,
    TOLERANCE,
    Spread,
    compare,
    compare_retrained,
    mean_levels,
)
from gahbench.runs.verification import MAX_SECONDS, _compare_score, choose_fits, repeat_fits, verify
from gahbench.runs.worker import Worker
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store

SUITE = """
name: verified
datasets: [{discs: {size: 12}}]
entrants: [{bf-cnn: {width: 3, layers: 3}}, {linear: {}}, identity, visu-shrink]
seeds: [0, 1]
training: {steps: 3, batch_size: 2, validations: 1, snapshots: 2}
scoring: {sigmas: [0.1, 0.3], images: 4, metrics: [psnr, ssim]}
"""

pytestmark = pytest.mark.usefixtures("figures_not_rendered", "rows_not_audited")


@pytest.fixture(scope="module")
def done(build_once):
    def fill(home):
        (home / "verified.yaml").write_text(SUITE)
        run_for_fixture(home / "verified.yaml", home / "out", threads=torch.get_num_threads())

    return build_once("verified", fill) / "out"


@pytest.fixture
def folder(done, tmp_path):
    return Path(shutil.copytree(done, tmp_path / "out"))


def score_of(folder, entrant):
    """Return the folder of the PSNR of a reference."""
    (unit,) = units_of(folder, metric="psnr", entrant=entrant)
    return Store(folder).path(unit)


def edit_score(unit, old, new):
    """Edit the scores of a unit, and all checksums."""
    file = unit / "scores.csv"
    file.write_text(file.read_text().replace(old, new))
    forge_done(unit, "scores.csv")


@pytest.mark.processes
def test_verification_succeeds_in_worker_processes(folder):
    outcome = verify(folder, units=3, workers=1)
    assert (outcome.repeats, len(outcome.rescored), len(outcome.refitted)) == (True, 3, 1)


def test_scores_repeat_and_an_edited_score_does_not(folder, units_here, command):
    verify = command("verify")
    before = sorted(file.name for file in (folder / "units").iterdir())
    status, printed, _ = verify(folder)
    assert status == 0, printed
    assert [line.split()[0] for line in printed.splitlines()] == ["equal"] * 11 + ["1", "10"]
    assert "1 of 1 fit reproduced; a single forged fit would be in this sample with probability 1/4" in printed
    assert "10 of 10 scores reproduced; files match their checksums in 16 of 16 units" in printed
    assert sorted(file.name for file in (folder / "units").iterdir()) == before

    unit = score_of(folder, "identity")
    value = (unit / "scores.csv").read_text().splitlines()[1].split(",")[2]
    edit_score(unit, value, repr(float(value) + 5))
    status, printed, _ = verify(folder, "--units", 12, "--fits", 0)
    assert status == 1
    assert "none of 4 fits was trained again" in printed
    assert "different  score identity on discs[size=12] psnr on test: by up to 5, in the same environment" in printed
    assert "11 of 12 scores reproduced; files match their checksums in 16 of 16 units" in printed


@pytest.mark.parametrize(
    ("stored", "here", "message"),
    [
        ({}, {}, ""),
        ({"kind": "oracle"}, {}, "the field 'kind' is oracle in the folder, and classical here"),
        ({"parameters": 3}, {}, "the field 'parameters' is 3 in the folder, and"),
        ({"flags": ["is off by 0.022 σ", "uses more"]}, {"flags": ["is off by 0.021 σ", "uses more"]}, ""),
        ({"flags": ["is off by 0.022 σ"]}, {"flags": ["is off by 0.021 σ", "uses more"]}, "folder: uses more"),
    ],
)
def test_recorded_kind_parameters_and_flags_are_compared(done, folder, stored, here, message):
    stores = Store(folder), Store(shutil.copytree(done, folder.parent / "here"))
    (unit,) = units_of(folder, entrant="visu-shrink[sym4]", metric="psnr")
    for store, facts in zip(stores, (stored, here), strict=True):
        forge_done(store.path(unit), **facts)
    outcome = _compare_score(unit, *stores)
    assert outcome.agreement == ("different" if message else "equal")
    assert message in outcome.detail


def test_damaged_units_are_reported_and_not_computed_again(folder, units_here):
    unit = score_of(folder, "identity")
    (unit / "scores.csv").write_text((unit / "scores.csv").read_text().replace("1", "2"))
    outcome = verify(folder, units=1, fits=0, seed=0, workers=1)
    (text,) = outcome.damaged
    assert "scores.csv: damaged" in text
    assert not outcome.repeats
    assert (outcome.checked, [repetition.repeats for repetition in outcome.rescored]) == (16, [True])


def test_the_json_output_reports_a_forged_fit(folder, units_here, command):
    forge_done(folder / "units" / fit_of(folder).folder, steps=2)
    status, printed, _ = command("verify")(folder, "--fits", 4, "--units", 1, "--json")
    outcome = json.loads(printed)
    assert (status, outcome["repeats"], outcome["chance"]) == (1, False, 1.0)
    (fit_record,) = [repetition for repetition in outcome["fits"] if repetition["agreement"] != "equal"]
    assert (fit_record["agreement"], fit_record["detail"]) == (
        "different",
        "the field 'steps' is 2 in the folder, and 3 here",
    )
    assert [repetition["agreement"] for repetition in outcome["scores"]] == ["equal"]


def test_a_missing_plugin_is_reported(units_here, tmp_path):
    suite, plugin = tmp_path / "verified.yaml", tmp_path / "half.py"
    suite.write_text(SUITE)
    plugin.write_text(HALF)
    out = tmp_path / "out"
    assert run(suite, out, threads=1, entrants=["half"], plugins=[plugin], only=["identity"]).failed == 0
    (copied,) = json.loads((out / "plan.json").read_text())["plugins"]
    (out / copied).write_text("")
    outcome = verify(out, units=9, fits=0, workers=1)
    failed = [repetition for repetition in outcome.rescored if not repetition.repeats]
    assert [(repetition.agreement, repetition.unit.entrant, "half" in repetition.detail) for repetition in failed] == [
        ("failed", "half", True)
    ] * 2
    assert len(outcome.rescored) == 4


def test_a_folder_without_scores_cannot_be_verified(folder):
    for unit in (folder / "units").glob("score-*"):
        shutil.rmtree(unit)
    with pytest.raises(ResultsError, match="has no finished score; expected a results folder with its units"):
        verify(folder)


def refit_of(folder, entrant="bf-cnn", fit=None):
    """Train a fit of a folder again in this process; return the repetition, and the units that were computed."""
    store, computed = Store(folder), []
    units = [unit for unit in require_plan(folder).units if unit.folder in store.finished()]

    def run(target, pairs):
        worker = Worker(lambda: Registry(packages=()), target, hardware("cpu"))
        for unit, _ in pairs:
            worker.compute(unit)
            computed.append(unit)

    fit = fit or fit_of(folder, entrant)
    (outcome,) = repeat_fits([fit], units, store, run)
    assert outcome.unit == fit
    return outcome, computed


def fit_of(folder, entrant="bf-cnn", seed=0):
    return next(
        unit
        for unit in require_plan(folder).units
        if (unit.kind, unit.seed) == ("fit", seed) and unit.entrant.startswith(entrant)
    )


def edit(folder, unit, scale=None, file="weights.safetensors", **facts):
    """Edit the record of a unit, and scale its weights, with all checksums."""
    unit_folder = folder / "units" / unit.folder
    if scale is not None:
        save_file({name: scale * value for name, value in load_file(unit_folder / file).items()}, unit_folder / file)
    forge_done(unit_folder, *(() if scale is None else (file,)), **facts)


def elsewhere(folder, unit):
    """Return the environment of a unit on another processor."""
    return {"environment": {**Store(folder).done_record(unit)["environment"], "processor": "another"}}


@pytest.mark.parametrize("entrant", ["bf-cnn", "linear"])
def test_an_honest_fit_repeats_to_the_last_bit(folder, entrant):
    outcome, computed = refit_of(folder, entrant)
    assert (outcome.agreement, outcome.detail) == ("equal", "")
    assert [unit.kind for unit in computed] == ["fit", "score"]


@pytest.mark.parametrize("file", ["weights.safetensors", "snapshot-1.safetensors"])
def test_different_weights_in_the_same_environment_are_reported(folder, file):
    edit(folder, fit_of(folder), scale=1.02, file=file)
    outcome, computed = refit_of(folder)
    assert outcome.agreement == "different"
    assert outcome.detail.startswith("its weights differ in the same environment: PSNR ")
    assert len(computed) == 2


@pytest.mark.parametrize("record_change", [{"resumed": True}, {"notes": ["begun in bfloat16, goes on in float32"]}, {}])
def test_weights_may_differ_if_a_part_was_trained_in_another_environment(folder, record_change):
    fit = fit_of(folder)
    edit(folder, fit, scale=1 + 1e-6, **(record_change or elsewhere(folder, fit)))
    outcome, _ = refit_of(folder)
    assert outcome.agreement == "close"
    assert outcome.detail == "its weights differ, but its PSNR does not"


def test_scores_of_another_network_are_reported_in_any_environment(folder):
    fit = fit_of(folder)
    edit(folder, fit, scale=1.5, **elsewhere(folder, fit))
    score = next(unit for unit in require_plan(folder).units if unit.requires == fit.key and unit.metric == "psnr")
    file = folder / "units" / score.folder / "scores.csv"
    head, *lines = file.read_text().splitlines()
    column = head.split(",").index("value")
    rows = [line.split(",") for line in lines]
    for row in rows:
        row[column] = repr(float(row[column]) + 30)
    file.write_text("\n".join([head, *map(",".join, rows)]) + "\n")
    forge_done(file.parent, file.name)
    outcome, computed = refit_of(folder)
    assert outcome.agreement == "different"
    assert "from the mean of 3 seeds trained here, allowed: " in outcome.detail
    # The other row gives one degree of freedom, and two further seeds make it three.
    assert [unit.kind for unit in computed] == ["fit", "score"] * 3
    assert {unit.seed for unit in computed} == {0, 1, 2}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"steps": 40}, "the field 'steps' is 40 in the folder, and 3 here"),
        ({"parameters": 1}, "the field 'parameters' is 1 in the folder, and"),
    ],
)
def test_recorded_steps_and_parameters_are_compared(folder, facts, message):
    edit(folder, fit_of(folder), **facts)
    outcome, _ = refit_of(folder)
    assert outcome.agreement == "different"
    assert message in outcome.detail


def test_very_different_training_times_are_reported(folder):
    edit(folder, fit_of(folder), train_seconds=5000.0)
    outcome, _ = refit_of(folder)
    assert outcome.agreement == "equal"
    assert outcome.detail.endswith("here and 1 h 23 min in the folder")


def test_a_training_that_does_not_match_the_key_is_reported(folder):
    fit = fit_of(folder)
    training = {**fit.payload["training"], "batch_size": 3}
    outcome, _ = refit_of(folder, fit=replace(fit, payload={**fit.payload, "training": training}))
    assert (outcome.agreement, outcome.detail) == (
        "different",
        "its training and seed in plan.json do not match its key",
    )


def test_one_short_fit_is_chosen_by_default_and_any_number_on_request(folder):
    store = Store(folder)
    units = list(require_plan(folder).units)
    for seed in (0, 1):
        edit(folder, fit_of(folder, "linear", seed), train_seconds=MAX_SECONDS)
    by_default = [choose_fits(units, store, None, random.Random(seed)) for seed in range(20)]
    assert {
        (len(chosen_sample.chosen), chosen_sample.eligible, chosen_sample.trained) for chosen_sample in by_default
    } == {(1, 2, 4)}
    assert {chosen_sample.chosen[0].folder for chosen_sample in by_default} == {
        fit_of(folder, seed=seed).folder for seed in (0, 1)
    }
    assert len(choose_fits(units, store, 9, random.Random(0)).chosen) == 4
    assert choose_fits(units, store, 0, random.Random(0)).chosen == ()
    without_psnr = [unit for unit in units if unit.metric != "psnr"]
    assert choose_fits(without_psnr, store, 9, random.Random(0)).eligible == 0


ROWS = [(0.1, image, 20.0 + image, part) for part in ("", "other") for image in range(4)]


def changed(by, part=None):
    return [(sigma, image, value + by * (part in (None, name)), name) for sigma, image, value, name in ROWS]


def test_scores_must_be_equal_in_equal_environments_and_close_in_others():
    assert compare(ROWS, ROWS, True)[0] == compare(ROWS, ROWS, False)[0] == "equal"
    assert compare(ROWS, changed(1e-9), True)[0] == "different"
    assert compare(ROWS, changed(0.9 * TOLERANCE * 21.5), False)[0] == "close"
    # Each part is compared separately.
    assert compare(ROWS, changed(1.1 * TOLERANCE * 21.5, "other"), False)[0] == "different"
    assert compare(ROWS, ROWS[1:], False)[0] == "different"
    # A second value for the same noise level, image and part would change the mean.
    assert compare([*ROWS, (*ROWS[0][:2], 90.0, ROWS[0][3])], ROWS, True)[0] == "different"


def test_mean_levels_averages_over_images_and_then_over_levels():
    rows = [(0.3, 0, 10.0, ""), (0.1, 0, 20.0, ""), (0.1, 1, 22.0, ""), (0.1, 0, 99.0, "part")]
    assert mean_levels(rows).tolist() == [21.0, 10.0, 15.5]


def test_the_spread_is_pooled_over_rows_and_bounds_follow_students_t():
    rows = [[np.array([1.0]), np.array([3.0])], [np.array([5.0]), np.array([6.0]), np.array([7.0])], [np.array([9.0])]]
    spread = Spread.pool(rows)
    # The sums of squares of both rows are 2, with 1 and 2 degrees of freedom.
    assert (spread.deviations[0], spread.dof) == (pytest.approx((4 / 3) ** 0.5), 3)
    # The quantile 0.995 of t with 3 degrees of freedom is 5.841 in any table.
    assert spread.bounds(1, 1)[0] == pytest.approx(5.841 * (4 / 3 * 2) ** 0.5, rel=1e-3)
    assert spread.bounds(4, 1)[0] < spread.bounds(4, 2)[0] < spread.bounds(1, 2)[0]
    assert Spread.pool(rows, [np.array([0.0]), np.array([8.0])]).deviations[0] == pytest.approx(32**0.5)
    assert Spread.pool([[np.array([1.0])]]).dof == 0


@pytest.mark.parametrize(("further", "seeds"), [(0, 2), (3, 0), (3, 2)])
def test_honest_fits_are_rarely_reported_and_forged_fits_are_found(further, seeds):
    draw = np.random.default_rng(0)

    def run(count):
        # Levels share a part of the effect of a seed.
        effects = 0.2 * draw.standard_normal((count, 1)) + 0.2 * draw.standard_normal((count, 3))
        levels = 20 + effects
        return list(np.column_stack([levels, levels.mean(axis=1)]))

    def agrees(gain):
        others = [run(3), run(3)] if seeds else []
        return compare_retrained(run(1)[0] + gain, run(seeds), run(1 + further), others)[0]

    wrong = np.mean([not agrees(0.0) for _ in range(1000)])
    assert wrong <= SIGNIFICANCE + 3 * (SIGNIFICANCE / 1000) ** 0.5
    assert np.mean([not agrees(4.0) for _ in range(100)]) > 0.9


def test_a_forged_seed_does_not_widen_its_own_bounds():
    honest = [np.array([20.0 + 0.1 * seed]) for seed in range(3)]
    stored = np.array([24.0])
    is_close, detail = compare_retrained(stored, honest[:2], [honest[2]], [honest])
    assert not is_close
    assert "PSNR 20.20 dB here and 24.00 dB in the folder: 3.80 dB from the stored fit, allowed: " in detail
    assert compare_retrained(np.array([20.1]), honest[:2], [honest[2]], [honest])[0]
