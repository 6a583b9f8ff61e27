"""Suite files: grids, labels, nested plugins, paths, warnings, versions, and changes from the command line."""

import hashlib
from dataclasses import replace

import fake_results
import numpy as np
import pytest
from tiny_runs import UNET as UNET_LABEL

import gahbench
from gahbench._util.errors import SuiteError
from gahbench.board.combined import combine
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import SuiteChanges, load_suite
from gahbench.planning.suite_files import SuiteVersion, suite_version

pytestmark = pytest.mark.usefixtures("figures_not_rendered")
UNET, HAAR = "unet: {width: 2, levels: 1}", "  - oracle-threshold: {basis: haar}"
BASELINE = "oracle-threshold[haar]"


def keys(suite, registry, **changes):
    return [unit.key for unit in make_plan(load_suite(suite, registry, SuiteChanges(**changes))).units]


def load(file, registry, **changes):
    return load_suite(file, registry, SuiteChanges(**changes))


def labels(suite):
    return [entrant.label for entrant in suite.entrants]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            "unet: {width: [3, 4], levels: [1, 2]}",
            [f"unet[width={width},levels={levels}]" for width in (3, 4) for levels in (1, 2)],
        ),
        ("bf-cnn[width=2,layers=3]", ["bf-cnn[width=2,layers=3]"]),
        ("bf-cnn: {training: {}}", ["bf-cnn[width=64]"]),
        (f'"{UNET_LABEL}"\n  - identity', []),
        (
            "threshold: {basis: [haar, 'wavelet[db4,levels=2]', 'wavelet[db4,levels=3]']}",
            ["threshold[haar]", "threshold[wavelet[db4,levels=2]]", "threshold[wavelet[db4,levels=3]]"],
        ),
        (
            "oracle-best-basis: {bases: [[haar, dct], [haar, 'wavelet[db4,levels=2]']]}",
            ["oracle-best-basis[bases=[haar,dct]]", "oracle-best-basis[bases=[haar,'wavelet[db4,levels=2]']]"],
        ),
    ],
)
def test_lists_make_grids_without_duplicates(write_suite, builtin, entry, expected):
    assert labels(load_suite(write_suite((HAAR, f"{HAAR}\n  - {entry}")), builtin))[3:] == expected


def test_a_board_shows_labels_own_training_and_the_version_of_its_suite(write_suite, builtin, tmp_path):
    own = "unet: {width: 2, levels: 1, training: {learning_rate: 1.0e-3, steps: 6, optimizer: adamw}}"
    plain, alone = (keys(write_suite(*changes), builtin) for changes in ([(UNET, f"{UNET}\n  - {own}")], []))
    file = write_suite(
        ("name: tiny\n", "name: tiny\nversion: 2\n"),
        (UNET, f"unet: {{width: 2, levels: 1, label: Small net (ours)}}\n  - {own}"),
        ("  - identity", '  - "identity[label=do nothing]"'),
        ("sinusoids: {size: 16}", "sinusoids: {size: 16, label: waves}"),
        (f"baseline: {BASELINE}", "baseline: do nothing"),
    )
    plan = make_plan(load_suite(file, builtin))
    first, second = plan.fits
    assert [unit.key for unit in plan.units] == plain
    assert (first.key, second.payload["training"]["learning_rate"]) == (alone[0], 1e-3)
    assert second.work == pytest.approx(first.work / 2)
    label = "unet[width=2,levels=1,training.learning_rate=0.001,training.steps=6,training.optimizer=adamw]"
    assert list(plan.suite.trainings) == [label]
    out, version = tmp_path / "out", SuiteVersion(2, hashlib.sha256(file.read_bytes()).hexdigest())
    results = gahbench.run(file, out, engine="inline").results
    board = results.leaderboard(full=True).set_index("entrant")
    assert set(board.index) == {"Small net (ours)", label, "do nothing", BASELINE}
    assert set(board["dataset"]) == {"waves"}
    assert board.loc["do nothing", "gain_over_baseline"] == 0
    assert board.loc[[label, "Small net (ours)"], "note"].tolist() == [
        "own training settings (the suite's in brackets): steps=6 (12), optimizer=adamw (adam), "
        "learning_rate=0.001 (0.002)",
        "",
    ]
    assert results.version == gahbench.load_results(out).version == version
    assert f"version 2, SHA-256 {version.digest[:12]}" in (out / "leaderboard.md").read_text(encoding="utf-8")
    assert f"suite tiny, version 2, SHA-256 {version.digest}" in gahbench.cite(out)


def test_lists_of_training_settings_are_a_grid_whose_values_the_board_shows(write_suite, builtin, tmp_path):
    rates, splits = "training.learning_rate=[0.001, 0.01]", "scoring.splits=[test, validation]"
    plan = make_plan(load_suite(write_suite(), builtin, SuiteChanges(settings=[rates])))
    labels = [f"unet[width=2,levels=1,training.learning_rate={rate}]" for rate in ("0.001", "0.01")]
    single = [keys(write_suite(), builtin, settings=[f"training.learning_rate={rate}"])[0] for rate in (0.001, 0.01)]
    assert {unit.entrant: unit.key for unit in plan.fits} == dict(zip(labels, single, strict=True))
    out = tmp_path / "out"
    results = gahbench.run(write_suite(), out, engine="inline", only=["unet"], settings=[rates, splits]).results
    board = results.leaderboard(full=True).set_index("entrant").loc[labels]
    assert board["training.learning_rate"].tolist() == [0.001, 0.01]
    scores = results.scores.query("split == 'validation' and metric == 'psnr'").groupby("entrant")["value"].mean()
    assert board["psnr_validation"].tolist() == pytest.approx(scores[labels].tolist())


def test_paths_are_relative_to_the_suite_or_the_current_folder(write_suite, builtin, tmp_path, monkeypatch):
    from PIL import Image

    for folder, side in (("suite", 24), ("current", 32)):
        (tmp_path / folder / "pictures").mkdir(parents=True)
        for number in range(20):
            Image.new("L", (side, side), number * 9).save(tmp_path / folder / "pictures" / f"{number:02}.png")
    file = tmp_path / "suite" / "own.yaml"
    file.write_text(write_suite(("sinusoids: {size: 16}", "faces: {path: pictures, size: 16}")).read_text())
    monkeypatch.chdir(tmp_path / "current")
    (dataset,) = load_suite(file, builtin).datasets
    assert dataset.parameters["path"] == str(tmp_path / "suite" / "pictures")
    assert dataset.label == "faces[pictures,size=16]"
    (tmp_path / "suite" / "pictures").rename(tmp_path / "suite" / "moved")
    (dataset,) = load_suite(file, builtin).datasets
    assert dataset.parameters["path"] == "pictures"


def test_unusual_noise_levels_warn(write_suite, builtin):
    with pytest.warns(UserWarning, match=r"tiny\.yaml: sigmas 5 are outside the range of images.*25/255"):
        load_suite(write_suite((UNET, "bayes-shrink"), ("[0.1, 0.3]", "[5, 0.1]")), builtin)
    with pytest.warns(UserWarning, match=r"sigmas 0\.001 are outside the range in which unet\[width=2,levels=1\] is"):
        load_suite(write_suite(("[0.1, 0.3]", "[0.001, 0.1]")), builtin)


def test_settings_change_and_add_fields(write_suite, builtin):
    settings = ["training.steps=7", "scoring.sigmas=[25/255, 0.3]", "entrants.unet.width=3", "entrants.0.unet.levels=2"]
    suite = load(write_suite(), builtin, settings=[*settings, "datasets.0.size=32"], seeds=range(4, 6))
    assert (suite.training.steps, suite.scoring.sigmas, suite.seeds) == (7, (25 / 255, 0.3), (4, 5))
    assert (labels(suite)[0], suite.datasets[0].label) == ("unet[width=3,levels=2]", "sinusoids[size=32]")
    assert suite.changes == tuple(f"--set {text}" for text in (*settings, "datasets.0.size=32", "seeds=[4, 5]"))
    added = {"limits.unit": 60, "entrants.identity": "bayes-shrink", "entrants.unet.label": "\U0001f680"}
    suite = load(write_suite(), builtin, settings=added)
    assert (suite.limits.unit, labels(suite)) == (60, ["\U0001f680", "bayes-shrink[sym4]", BASELINE])
    suite = load(write_suite(("  - identity\n", "  - bf-cnn\n")), builtin, settings="entrants.bf-cnn.layers=3")
    assert suite.entrants[1].parameters["layers"] == 3
    with pytest.raises(SuiteError, match=r"tiny\.yaml:6: .*unknown parameter 'wide'"):
        load(write_suite(("width: 2", "wide: 2")), builtin, settings=["training.steps=1"])


def test_settings_change_one_of_several_entries(write_suite, builtin):
    file = write_suite(("  - identity", "  - unet: {width: 3, levels: 1}"))
    with pytest.raises(gahbench.GahbenchError, match="'unet' is not the name of a single entry"):
        load(file, builtin, settings=["entrants.unet.width=5"])
    assert load(file, builtin, settings=["entrants.1.width=5"]).entrants[1].parameters["width"] == 5
    # A setting changes only one use of an alias.
    aliased = "  - unet: &small {width: 2}\n  - bf-cnn: *small"
    suite = load(write_suite((f"  - {UNET}\n  - identity", aliased)), builtin, settings=["entrants.unet.width=7"])
    assert [entrant.parameters["width"] for entrant in suite.entrants[:2]] == [7, 2]


def test_filters_keep_the_baseline_psnr_and_added_entrants(write_suite, builtin):
    file = write_suite()
    suite = load(file, builtin, only="unet*", metrics=["slope"], datasets=["sinu*"])
    assert labels(suite) == [UNET_LABEL, BASELINE]
    assert [metric.label for metric in suite.metrics] == ["psnr", "slope"]
    for pattern in (UNET_LABEL, "unet", "unet[*"):
        assert labels(load(file, builtin, only=[pattern])) == [UNET_LABEL, BASELINE]
    added = load(file, builtin, only=["identity"], entrants=["unet[width=3]", "identity"])
    assert labels(added) == ["identity", BASELINE, "unet[width=3]"]
    # An added entrant is kept even if the file contains it.
    assert labels(load(file, builtin, only=["identity"], entrants=[UNET_LABEL])) == [UNET_LABEL, "identity", BASELINE]


@pytest.mark.parametrize(
    ("text", "changes", "is_frozen"),
    [
        ("name: a\nversion: 2\n", (), True),
        ("name: a\nversion: 2\n", ("--entrant identity", "--only identity", "--dataset discs"), True),
        ("name: a\nversion: 2\n", ("--set training.steps=1",), False),
        ("name: a\n", (), False),
        ("", (), False),
    ],
)
def test_a_suite_is_frozen_if_it_states_a_version_and_no_setting_was_changed(text, changes, is_frozen):
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert suite_version(text, changes) == (SuiteVersion(2, digest) if is_frozen else None)


def test_combined_results_of_one_version_of_a_suite_keep_the_version():
    described = fake_results.dataset("d") | dict.fromkeys(("protocol", "notes"), "")
    first, second = (
        fake_results.results(
            fake_results.rows("d", entrant, "classical", np.full((6, 4), 30.0)), datasets=[dict(described)]
        )
        for entrant in ("a", "b")
    )
    frozen = replace(first, version=SuiteVersion(2, "1" * 64))
    assert combine({"first": frozen, "second": replace(second, version=frozen.version)}).version == frozen.version
    for version in (None, SuiteVersion(3, "0" * 64)):
        assert combine({"first": frozen, "second": replace(second, version=version)}).version is None
