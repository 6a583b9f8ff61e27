"""Suite files: grids, labels, nested plugins, paths, warnings, and frozen suites."""

import pytest
from tiny_runs import UNET as UNET_LABEL

import gahbench
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_files import suite_version

pytestmark = pytest.mark.usefixtures("figures_not_rendered")
UNET, HAAR = "unet: {width: 2, levels: 1}", "  - oracle-threshold: {basis: haar}"


def entrants(write_suite, builtin, text):
    """Append a YAML entry to the entrants of the tiny suite, and return the appended entrants."""
    return load_suite(write_suite((HAAR, f"{HAAR}\n  - {text}")), builtin).entrants[3:]


def keys(suite, registry):
    return [unit.key for unit in make_plan(load_suite(suite, registry)).units]


@pytest.mark.parametrize(
    ("entry", "labels"),
    [
        (
            "unet: {width: [3, 4], levels: [1, 2]}",
            [f"unet[width={width},levels={levels}]" for width in (3, 4) for levels in (1, 2)],
        ),
        ("bf-cnn[width=2,layers=3]", ["bf-cnn[width=2,layers=3]"]),
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
def test_lists_make_grids_without_duplicates(write_suite, builtin, entry, labels):
    assert [entrant.label for entrant in entrants(write_suite, builtin, entry)] == labels


def test_a_recipe_sets_defaults(write_suite, builtin):
    training = load_suite(write_suite(), builtin).training
    assert (training.recipe, training.noise, training.weighting) == ("kl", "log-uniform", "inverse-variance")
    assert (training.steps, training.epochs) == (12, None)


def test_labels_are_shown_and_do_not_change_keys(write_suite, builtin, tmp_path):
    plain = keys(write_suite(), builtin)
    file = write_suite(
        (UNET, "unet: {width: 2, levels: 1, label: Small net (ours)}"),
        ("  - identity", '  - "identity[label=do nothing]"'),
        ("discs: {size: 16}", "discs: {size: 16, label: discs}"),
        ("baseline: oracle-threshold[haar]", "baseline: do nothing"),
    )
    assert keys(file, builtin) == plain
    board = gahbench.run(file, tmp_path / "out", engine="inline").leaderboard(full=True)
    assert set(board["entrant"]) == {"Small net (ours)", "do nothing", "oracle-threshold[haar]"}
    assert set(board["dataset"]) == {"discs"}
    assert board.set_index("entrant").loc["do nothing", "gain_over_baseline"] == 0
    # A different label needs no new unit.
    again = gahbench.run(write_suite((UNET, UNET[:-1] + ", label: N2}")), tmp_path / "out", engine="inline")
    assert again.done == 7
    assert "N2" in set(again.leaderboard(full=True)["entrant"])


def test_the_board_notes_the_training_of_a_single_entrant(write_suite, builtin, tmp_path):
    other = "unet: {width: 2, levels: 1, training: {learning_rate: 1.0e-3, steps: 6, loss: mae}}"
    file = write_suite((UNET, f"{UNET}\n  - {other}"), (HAAR, f"{HAAR}\n  - bf-cnn: {{training: {{}}}}"))
    plan = make_plan(load_suite(file, builtin))
    fits = {unit.entrant: unit for unit in plan.fits}
    label = "unet[width=2,levels=1,training.learning_rate=0.001,training.steps=6,training.loss=mae]"
    assert [*fits] == [UNET_LABEL, label, "bf-cnn[width=64]"]
    assert list(plan.suite.trainings) == [label]
    assert fits[label].payload["training"]["learning_rate"] == 1e-3
    assert fits[UNET_LABEL].key == keys(write_suite(name="plain.yaml"), builtin)[0]
    assert fits[label].work == pytest.approx(fits[UNET_LABEL].work / 2)
    only = ["unet", "identity"]
    board = gahbench.run(file, tmp_path / "out", engine="inline", only=only).leaderboard(full=True).set_index("entrant")
    assert board.loc[[label, UNET_LABEL], "note"].tolist() == [
        "own training settings: steps=6 (12), learning_rate=0.001 (0.002), loss=mae (mse)", ""
    ]  # fmt: skip


def test_paths_are_relative_to_the_suite_or_the_current_folder(write_suite, builtin, tmp_path, monkeypatch):
    from PIL import Image

    for folder in ("suite", "current"):
        (tmp_path / folder / "pictures").mkdir(parents=True)
        for number in range(20):
            size = (24, 24) if folder == "suite" else (32, 32)
            Image.new("L", size, number * 9).save(tmp_path / folder / "pictures" / f"{number:02}.png")
    file = tmp_path / "suite" / "own.yaml"
    file.write_text(write_suite(("discs: {size: 16}", "faces: {path: pictures, size: 16}")).read_text())
    monkeypatch.chdir(tmp_path / "current")
    (dataset,) = load_suite(file, builtin).datasets
    assert dataset.parameters["path"] == str(tmp_path / "suite" / "pictures")
    assert dataset.label == "faces[pictures,size=16]"
    (tmp_path / "suite" / "pictures").rename(tmp_path / "suite" / "moved")
    (dataset,) = load_suite(file, builtin).datasets
    assert dataset.parameters["path"] == "pictures"


def test_unusual_noise_levels_warn(write_suite, builtin):
    with pytest.warns(UserWarning, match=r"tiny\.yaml: sigmas 25 are outside the range of images.*25/255"):
        load_suite(write_suite((UNET, "bayes-shrink"), ("[0.1, 0.3]", "[25, 0.1]")), builtin)
    with pytest.warns(UserWarning, match=r"sigmas 0\.001 are outside the range in which unet\[width=2,levels=1\] is"):
        load_suite(write_suite(("[0.1, 0.3]", "[0.001, 0.1]")), builtin)


def test_networks_of_the_frozen_suite_are_also_scored_after_half_of_their_steps(builtin):
    suite = load_suite("standard-1", builtin)
    assert suite_version(suite.text) is not None
    steps = suite.training.total_steps(None)
    assert suite.training.snapshot_steps(steps)[-2:] == (steps // 2, steps)
    for training in suite.trainings.values():
        assert training.model_copy(update={"learning_rate": suite.training.learning_rate}) == suite.training
        assert training.schedule == "constant"
        assert training.ema is not None


def test_the_learning_rates_of_the_frozen_suite_are_from_a_search_of_three_rates_for_a_fifth_of_the_steps(builtin):
    suite, search = load_suite("standard-1", builtin), load_suite("standard-1-search", builtin)
    candidates: dict[str, set[float]] = {}
    for entrant in search.entrants:
        candidates.setdefault(entrant.text, set()).add(search.trainings[entrant.label].learning_rate)
    networks = [entrant for entrant in suite.entrants if entrant.kind == "architecture"]
    assert {entrant.text for entrant in networks} == set(candidates)
    for entrant in networks:
        training = suite.trainings.get(entrant.label, suite.training)
        assert len(candidates[entrant.text]) == 3
        assert training.learning_rate in candidates[entrant.text]
        fifth = {"steps": suite.training.steps // 5, "ema": 0.99, "snapshots": 0, "learning_rate": 0.1}
        assert training.model_copy(update=fifth) == search.training.model_copy(update={"learning_rate": 0.1})
    assert {dataset.text for dataset in search.datasets} < {dataset.text for dataset in suite.datasets}
