"""Published results agree with their suites."""

import hashlib
import json
import re
import zipfile
from types import SimpleNamespace

import pytest
from published_pages import PUBLISHED, ROOT, load_results

from gahbench._util.records import key_of
from gahbench.board.combined import pooled_names
from gahbench.contracts.row_labels import base_label
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_entries import configure_entrant
from gahbench.planning.suite_files import suite_version
from gahbench.planning.units import PlannedDataset, protocol_key, rows
from gahbench.registry.spec import parse_spec
from gahbench.report.text import markdown
from gahbench.store.plan_file import require_plan


def current_label(label, registry):
    """Return the present label of an entrant of a board; defaults may have changed since it was published."""
    base = base_label(label)
    return configure_entrant(registry, parse_spec(base)).label + label.removeprefix(base)


@pytest.mark.parametrize(
    "name",
    # Pages of basis are compared with a part of its board, since the whole takes as long as many others together.
    [pytest.param(name, marks=pytest.mark.slow) if name == "basis" else name for name in PUBLISHED],
)
def test_a_published_board_agrees_with_its_suite_and_no_entrant_exceeds_the_optimum(
    builtin, name, tmp_path, monkeypatch
):
    results = load_results(name)
    checks = [results.optimum_checks.get(dataset) for dataset in results.datasets["dataset"]]
    has_optimum = results.scores["kind"].isin(("optimal", "bound")).any()
    is_checked = results.datasets["optimum"].isin(("exact", "bracket")) & has_optimum
    assert [check is not None for check in checks] == is_checked.tolist()
    assert all(check.violations == () for check in checks if check)
    assert results.failures.empty
    text = (ROOT / "results" / name / "leaderboard.md").read_text(encoding="utf-8")
    assert text == markdown(results)
    assert f"`{name}`" in (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    # Labels do not depend on the files of the user, which are in a folder named as the suite.
    text = (ROOT / "suites" / f"{name}.yaml").read_text(encoding="utf-8")
    for path in re.findall(rf"\b{name}/[\w./-]+", text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    monkeypatch.chdir(tmp_path)
    suite = load_suite(name, builtin)
    labels = {row.label for row in rows(suite)}
    assert {label if label in labels else current_label(label, builtin) for label in results.entrants} == labels
    pooled = pooled_names({dataset.label: dataset.default_label for dataset in suite.datasets})
    datasets = {pooled.get(dataset.label, dataset.label) for dataset in suite.datasets}
    if results.version is not None:
        assert results.version == suite_version(suite.text)
    assert {board.dataset for board in results.board.datasets} == datasets


def test_the_learning_rates_of_the_frozen_suite_are_the_best_of_the_search_on_validation_images(builtin):
    suite, search = load_suite("standard-1", builtin), load_suite("standard-1-search", builtin)
    scores = load_results(search.name).scores.query("metric == 'psnr' and split == 'validation'")
    psnr = scores.groupby("entrant")["value"].mean()
    for network in (entrant for entrant in suite.entrants if entrant.kind == "architecture"):
        candidates = {
            search.trainings[entrant.label].learning_rate: psnr[entrant.label]
            for entrant in search.entrants
            if entrant.text == network.text
        }
        assert len(candidates) > 1
        assert suite.trainings[network.label].learning_rate == max(candidates, key=candidates.__getitem__)


@pytest.mark.parametrize("archive", sorted((ROOT / "results").glob("*/fits.zip")), ids=lambda path: path.parent.name)
def test_histories_and_checksums_of_every_fit_of_a_board_are_in_its_archive(archive):
    fits = load_results(archive.parent.name).fits
    with zipfile.ZipFile(archive) as files:
        names = files.namelist()
        folders = sorted({name.rpartition("/")[0] for name in names})
        assert len(folders) >= len(fits)
        for folder in folders:
            done, history = json.loads(files.read(f"{folder}/done.json")), files.read(f"{folder}/history.csv")
            assert hashlib.sha256(history).hexdigest() == done["files"]["history.csv"]["sha256"]
            assert "weights.safetensors" in done["files"]
            assert f"{folder}/weights.safetensors" not in names


@pytest.mark.parametrize("folder", PUBLISHED)
def test_the_board_shows_every_unit_of_its_plan(folder):
    results, plan = load_results(folder), require_plan(ROOT / "results" / folder)
    pooled = pooled_names(plan.dataset_specs)
    assert {unit.entrant for unit in plan.units} <= set(results.entrants)
    assert {pooled.get(unit.dataset, unit.dataset) for unit in plan.units} <= set(results.datasets["dataset"])


@pytest.mark.parametrize("folder", PUBLISHED)
def test_a_run_of_the_same_suite_can_be_compared_with_a_published_board(builtin, folder):
    """The key of images and noise on the board is that of its plan, or that of a fresh run."""
    datasets = load_results(folder).datasets
    recorded = dict(zip(datasets["dataset"], datasets["protocol"], strict=True))
    planned = {
        unit.dataset: protocol_key(SimpleNamespace(document=unit.document["dataset"]), unit.document["noise_seed"])
        for unit in require_plan(ROOT / "results" / folder).units
        if unit.kind == "score" and unit.document and "noise_seed" in unit.document
    }
    if not planned.keys() <= recorded.keys():
        pooled = pooled_names({dataset: dataset for dataset in planned})
        for name in set(pooled.values()):
            planned[name] = key_of([key for dataset, key in planned.items() if pooled.get(dataset) == name])
    differing = {dataset for dataset, key in recorded.items() if key != planned.get(dataset)}
    if differing:
        # Plans of early runs lack parameters that datasets have since, or the keys altogether.
        suite = load_suite(folder, builtin)
        fresh = {
            configured.label: protocol_key(PlannedDataset(configured, configured.build()), suite.scoring.noise_seed)
            for configured in suite.datasets
            if configured.label in differing
        }
        assert fresh == {dataset: recorded[dataset] for dataset in differing}


@pytest.mark.usefixtures("figures_not_rendered")
def test_a_row_beside_the_published_units_of_quick_trains_no_other(command, tmp_path):
    page = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    (words,) = re.findall(r"`gahbench run (quick -e ENTRANT --reuse \S+)`", page)
    words = words.replace("ENTRANT", "visu-shrink").replace("results/", f"{ROOT}/results/").split()
    # The posteriors of C^alpha images, by which new rows are checked, take seconds.
    status, printed, errors = command("run")(*words, "-d", "discs*", "--out", tmp_path / "out", "--engine", "inline")
    assert status == 0, errors
    assert "VisuShrink" in printed
    assert re.findall(r"\] (\w+) (\S+) on", errors) == [("score", "visu-shrink[sym4]")] * errors.count("done in")
