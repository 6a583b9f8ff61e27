"""Tests of verification: honest results are reproduced, and each forgery is found by one of its checks."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from finished_units import forge_done
from safetensors.torch import load_file, save_file
from sample_files import HALF
from tiny_runs import run, run_for_fixture, units_of

from gahbench._util.errors import ResultsError
from gahbench.runs.verification import MAX_SECONDS, TOLERANCES, verify
from gahbench.store.plan_file import require_plan, write_plan
from gahbench.store.store import Store

SUITE = """
name: verified
datasets: [{sinusoids: {size: 12}}]
entrants: [{bf-cnn: {width: 3, layers: 3}}, {linear: {}}, identity, visu-shrink]
seeds: [0, 1]
training: {steps: 3, batch_size: 2, validations: 1, snapshots: 2}
scoring: {sigmas: [0.1, 0.3], images: 24, metrics: [psnr, ssim]}
"""
CHEATS = Path(__file__).parents[1] / "attack" / "cheating_plugins.py"
#: Options of a verification that computes everything again.
ALL = {"units": 100, "fits": 100, "seed": 0}

pytestmark = pytest.mark.usefixtures("figures_not_rendered")


@pytest.fixture(scope="module")
def done(build_once):
    def fill(home):
        for name, text in (("out", SUITE), ("longer", SUITE.replace("steps: 3", "steps: 100"))):
            (home / "verified.yaml").write_text(text)
            run_for_fixture(home / "verified.yaml", home / name, threads=torch.get_num_threads())

    return build_once("verified", fill)


@pytest.fixture
def folder(done, tmp_path):
    return Path(shutil.copytree(done / "out", tmp_path / "out"))


def problems(folder, **options):
    """Verify a folder; return the comparisons that are not reproduced, as entrant, check and verdict."""
    table = verify(folder, **(ALL | options))
    return [(row.unit.split()[1], row.check, row.verdict) for row in table.itertuples() if row.verdict != "reproduced"]


def fit_of(folder, entrant="bf-cnn", seed=0):
    return next(unit for unit in units_of(folder, kind="fit", seed=seed) if unit.entrant.startswith(entrant))


def score_of(folder, entrant):
    """Return the folder of the PSNR of a reference."""
    (unit,) = units_of(folder, metric="psnr", entrant=entrant)
    return Store(folder).path(unit)


def edit_scores(folder, change):
    """Change the values of a score unit, with all checksums."""
    head, *lines = (folder / "scores.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines]
    text = "".join(f"{','.join([row[0], row[1], repr(change(float(row[2]))), row[3]])}\n" for row in rows)
    (folder / "scores.csv").write_text(f"{head}\n{text}")
    forge_done(folder, "scores.csv")


@pytest.mark.processes
def test_honest_results_are_reproduced_in_worker_processes(folder):
    assert problems(folder, units=3, fits=1) == []


def test_honest_results_are_reproduced_and_the_folder_is_not_changed(folder, units_here, command):
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    status, printed, _ = command("verify")(folder, "--units", 100, "--fits", 100, "--seed", 0)
    assert status == 0, printed
    # 12 scores, their rows under other noise and on new images, and the training and the PSNR of 4 fits.
    assert printed.splitlines()[-1] == f"{12 + 2 * 6 + 2 * 4} of 32 comparisons reproduced"
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    table = verify(folder, units=1, fits=0, quiet=True)
    assert table["check"].tolist() == ["score", "other noise", "new images"]


def train_longer_elsewhere(folder, done):
    """Replace the networks of a folder, and the scores that measured them, by those of a longer training."""
    other, environment = done / "longer", {"threads": 1, "device": "cpu", "processor": "another"}
    store, others = Store(folder), Store(other)
    for unit in units_of(folder, kind="fit"):
        (source,) = (each for each in units_of(other, kind="fit", entrant=unit.entrant) if each.seed == unit.seed)
        names = [file.name for file in store.path(unit).glob("*.safetensors")]
        for name in names:
            source_name = max(others.path(source).glob(f"{name.partition('-')[0]}*"), key=lambda file: file.name).name
            replace_file(store.path(unit) / name, others.path(source) / source_name)
        forge_done(store.path(unit), *names, environment=environment)
        reseal(store, unit)
    for unit in units_of(folder, kind="score"):
        sources = units_of(other, kind="score", entrant=unit.entrant, metric=unit.metric, seed=unit.seed)
        replace_file(store.path(unit) / "scores.csv", others.path(sources[0]) / "scores.csv")
        forge_done(store.path(unit), "scores.csv")


def replace_file(target, source):
    target.unlink()
    shutil.copy(source, target)


def reseal(store, fit):
    """Let the scores of a fit record its current weights."""
    for unit in units_of(store.folder, kind="score", requires=fit.key):
        forge_done(store.path(unit), networks={fit.key: store.weights_checksum(fit.key)})


def scale_weights(folder, done, factor=1.02, **facts):
    unit = fit_of(folder)
    file = Store(folder).path(unit) / "weights.safetensors"
    save_file({name: factor * value for name, value in load_file(file).items()}, file)
    forge_done(file.parent, file.name, **facts)
    reseal(Store(folder), unit)


def edit_score(folder, done):
    edit_scores(score_of(folder, "identity"), lambda value: value + 0.1)


def change_kind(folder, done):
    forge_done(score_of(folder, "identity"), kind="oracle")


def state_other_steps(folder, done):
    forge_done(Store(folder).path(fit_of(folder)), steps=2)


def plan_other_training(folder, done):
    plan, fit = require_plan(folder), fit_of(folder)
    training = {**fit.payload["training"], "batch_size": 3}
    units = [
        replace(unit, payload={**unit.payload, "training": training}) if unit.key == fit.key else unit
        for unit in plan.units
    ]
    write_plan(folder, replace(plan, units=tuple(units)))


def damage(folder, done):
    file = score_of(folder, "identity") / "scores.csv"
    file.write_text(file.read_text().replace("1", "2"))


@pytest.mark.parametrize(
    ("forge", "entrant", "check", "verdict"),
    [
        (train_longer_elsewhere, "linear", "fit", "different: by "),
        (scale_weights, "bf-cnn", "training", "different: weights="),
        (edit_score, "identity", "score", "different: by 0.1"),
        (change_kind, "identity", "score", "different: kind=oracle in the folder, and kind=classical here"),
        (state_other_steps, "bf-cnn", "training", "different: steps=2 in the folder, and steps=3 here"),
        (plan_other_training, "bf-cnn", "training", "different: training="),
        (damage, "identity", "files", "damaged: "),
    ],
)
def test_a_forgery_is_found(folder, done, units_here, forge, entrant, check, verdict):
    forge(folder, done)
    found = problems(folder, **({"fits": 0} if check in ("score", "files") else {}))
    assert any(row[0].startswith(entrant) and row[1] == check and row[2].startswith(verdict) for row in found), found


@pytest.mark.parametrize(
    ("cheat", "check"), [("cheat-test-images", "new images"), ("cheat-known-noise", "other noise")]
)
def test_an_entrant_that_knows_what_it_is_scored_on_is_found(units_here, tmp_path, cheat, check):
    suite = tmp_path / "verified.yaml"
    suite.write_text(SUITE.replace("sinusoids: {size: 12}", "c-alpha: {size: 16, alpha: 2}"))
    run(suite, tmp_path / "out", entrants=[cheat], plugins=[CHEATS], only=[cheat], threads=1)
    found = problems(tmp_path / "out")
    assert check in {row[1] for row in found if row[0] == cheat}
    assert {row[0] for row in found} == {cheat}


@pytest.mark.parametrize(("factor", "count"), [(1 + 0.9 * TOLERANCES["score"], 0), (1 + 1.1 * TOLERANCES["score"], 1)])
def test_scores_may_differ_by_their_tolerance(folder, units_here, factor, count):
    edit_scores(score_of(folder, "visu-shrink[sym4]"), lambda value: factor * value)
    assert len(problems(folder, fits=0)) == count


def test_weights_may_differ_if_a_part_was_trained_in_another_environment(folder, units_here):
    scale_weights(folder, None, 1 + 1e-5, resumed=True)
    assert problems(folder) == []


def test_a_missing_plugin_is_reported(units_here, tmp_path):
    suite, plugin, out = tmp_path / "verified.yaml", tmp_path / "half.py", tmp_path / "out"
    suite.write_text(SUITE)
    plugin.write_text(HALF)
    assert run(suite, out, threads=1, entrants=["half"], plugins=[plugin], only=["identity"]).failed == 0
    (copied,) = require_plan(out).plugins
    (out / copied).write_text("")
    found = problems(out)
    assert {(entrant, verdict.partition(":")[0]) for entrant, _, verdict in found} == {("half", "failed")}
    assert all("half" in verdict for *_, verdict in found)


def test_a_folder_without_scores_cannot_be_verified(folder):
    for unit in (folder / "units").glob("score-*"):
        shutil.rmtree(unit)
    with pytest.raises(ResultsError, match="has no finished score; expected a results folder with its units"):
        verify(folder)


def test_one_short_fit_is_trained_by_default(folder, units_here):
    for seed in (0, 1):
        forge_done(Store(folder).path(fit_of(folder, "linear", seed)), train_seconds=MAX_SECONDS)
    table = verify(folder, units=1)
    (unit,) = table[table["check"] == "training"]["unit"]
    assert unit.startswith("fit bf-cnn")
