"""Labels of entries, training of single entrants, and files of the same name."""

import pytest
from tiny_runs import plan_suite

import gahbench
from gahbench._util.errors import SuiteError
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.registry.registry import Registry

pytestmark = pytest.mark.usefixtures("figures_not_rendered")
UNET = "unet: {width: 2, levels: 1}"


def keys(suite, registry):
    return [unit.key for unit in make_plan(load_suite(suite, registry)).units]


def test_labels_are_shown_and_do_not_change_keys(write_suite, builtin, tmp_path):
    plain = keys(write_suite(), builtin)
    file = write_suite(
        (UNET, "unet: {width: 2, levels: 1, label: Small net (ours)}"),
        ("  - identity", '  - "identity[label=do nothing]"'),
        ("discs: {size: 16}", "discs: {size: 16, label: discs}"),
        ("[psnr, slope]", "[psnr, {slope: {label: decay of the error}}]"),
        ("baseline: oracle-threshold[haar]", "baseline: do nothing"),
    )
    assert keys(file, builtin) == plain
    outcome = gahbench.run(file, tmp_path / "out", engine="inline")
    board = outcome.leaderboard(full=True)
    assert set(board["entrant"]) == {"Small net (ours)", "do nothing", "oracle-threshold[haar]"}
    assert set(board["dataset"]) == {"discs"}
    assert board.set_index("entrant").loc["do nothing", "gain_over_baseline"] == 0
    assert outcome.results.metrics.set_index("metric").loc["slope", "title"] == "decay of the error"
    # The scores keep the names of the metrics.
    assert set(outcome.scores["metric"]) == {"psnr", "slope"}
    # A different label needs no new unit.
    again = gahbench.run(
        write_suite((UNET, "unet: {width: 2, levels: 1, label: N2}")), tmp_path / "out", engine="inline"
    )
    assert again.done == 7
    assert "N2" in set(again.leaderboard(full=True)["entrant"])


def test_a_parameter_named_label_belongs_to_the_plugin(write_class, write_suite):
    body = (
        "def __init__(self, label: str = 'x'): self.label = label\ndef denoise(self, noisy, sigma, truth): return noisy"
    )
    file = write_class("reference", body, "marked")
    suite = load_suite(write_suite(("  - identity", "  - marked: {label: y}")), Registry((file,)))
    assert suite.entrants[1].label == "marked[y]"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (UNET, "unet: {width: [2, 3], label: one}", r"tiny\.yaml:6: a single label for a grid of 2 entries"),
        (UNET, "unet: {label: 3}", r"label=3; accepted: a single line"),
        (UNET, "unet: {width: 2, levels: 1, label: ''}", r"accepted: a single line of at most 200 characters"),
        (UNET, 'unet: {width: 2, levels: 1, label: "a\\nb"}', r"accepted: a single line"),
        (UNET, "unet: {width: 2, levels: 1, label: _a}", r"that does not begin with an underscore"),
        (
            UNET,
            "unet: {width: 2, levels: 1, label: net N=3}",
            r"the ending is reserved for rows of numbers of training images",
        ),
        (
            UNET,
            "unet: {label: A, training: {steps: 3}}\n  - unet: {label: A}",
            "'A': two entrants with different training",
        ),
        ("  - identity", "  - dncnn: {checkpoint: tiny.yaml, training: {steps: 3}}", r"is not trained; training is "),
        (UNET, "unet: {width: 2, levels: 1, label: identity}", r"two entries have the label 'identity'"),
        (
            "  - identity",
            "  - identity\n  - identity: {label: other}",
            r"'identity' and 'other' are the same reference",
        ),
        ("  - identity", "  - identity: {training: {steps: 3}}", r"reference 'identity' is not trained"),
        (UNET, "unet: {training: {train_images: 4}}", r"training.train_images: must be set for the whole suite; "),
        (
            UNET,
            "unet: {training: {stepz: 4}}",
            r"tiny\.yaml:6: unknown field 'entrants.0.unet.training.stepz'",
        ),
        (UNET, "unet: {width: 2, training: {steps: 0}}", r"tiny\.yaml:6: entrants.0.unet.training.steps: "),
        (UNET, "unet: {width: 2, training: 3}", r"expected fields with values; accepted: recipe, steps"),
    ],
)
def test_invalid_labels_and_training_settings_raise(write_suite, builtin, old, new, message):
    with pytest.raises(gahbench.GahbenchError, match=message):
        load_suite(write_suite((old, new)), builtin)


def test_the_board_notes_the_training_of_a_single_entrant(write_suite, builtin, tmp_path):
    other = "unet: {width: 2, levels: 1, training: {learning_rate: 1.0e-3, steps: 6, loss: mae}}"
    file = write_suite((UNET, f"{UNET}\n  - {other}"))
    plain = make_plan(load_suite(write_suite(name="plain.yaml"), builtin)).fits[0]
    plan = make_plan(load_suite(file, builtin))
    fits = {unit.entrant: unit for unit in plan.fits}
    label = "unet[width=2,levels=1,training.learning_rate=0.001,training.steps=6,training.loss=mae]"
    assert list(fits) == ["unet[width=2,levels=1]", label]
    assert fits[label].payload["training"]["learning_rate"] == 1e-3
    assert fits["unet[width=2,levels=1]"].key == plain.key
    assert fits[label].work == pytest.approx(fits["unet[width=2,levels=1]"].work / 2)
    board = gahbench.run(file, tmp_path / "out", engine="inline").leaderboard(full=True).set_index("entrant")
    assert (
        board.loc[label, "note"] == "own training settings: steps=6 (12), learning_rate=0.001 (0.002), loss=mae (mse)"
    )
    assert board.loc["unet[width=2,levels=1]", "note"] == ""
    assert "own training settings" in (tmp_path / "out" / "leaderboard.md").read_text()


def test_checkpoints_of_one_file_name_are_distinguished_by_their_folders(write_suite, builtin, tmp_path):
    from safetensors.torch import save_file

    network = gahbench.create("architecture", "dncnn", width=2, layers=3)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        save_file(network.state_dict(), tmp_path / folder / "net.safetensors")
    entry = "dncnn: {{width: 2, layers: 3, checkpoint: {}/net.safetensors}}"
    # Paths are relative to the suite file.
    file = write_suite(("  - identity", f"  - {entry.format('one')}\n  - {entry.format('two')}"))
    labels = [entrant.label for entrant in load_suite(file, builtin).entrants]
    assert labels[1:3] == [f"dncnn[width=2,layers=3,checkpoint={name}/net.safetensors]" for name in ("one", "two")]


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
    with pytest.warns(UserWarning, match=r"pictures: does not exist in the suite's folder"):
        (dataset,) = load_suite(file, builtin).datasets
    assert dataset.parameters["path"] == "pictures"


def test_plugins_of_a_suite_and_of_the_environment_are_found(write_suite, write_plugin, monkeypatch, tmp_path):
    write_plugin("mine", "return noisy - self.noise(noisy)")
    other = write_plugin("yours", "return noisy - self.noise(noisy)", folder="elsewhere")
    file = write_suite(("  - identity", "  - mine\n  - yours"), ("name: tiny", "name: tiny\nplugins: [plugins]"))
    monkeypatch.setenv("GAHBENCH_PLUGINS", f"{other}:")
    monkeypatch.chdir("/")
    labels = {unit.entrant for unit in plan_suite(file).units}
    assert {"mine", "yours"} <= labels
    assert gahbench.create("architecture", "yours") is not None
    file.write_text(file.read_text().replace("plugins: [plugins]", "plugins: [absent]"))
    with pytest.raises(SuiteError, match=r"tiny\.yaml:3: plugins: no such file or folder: .*absent"):
        plan_suite(file)


def test_an_empty_training_is_ignored(write_suite, builtin):
    suite = load_suite(write_suite((UNET, "unet: {width: 2, levels: 1, training: {}}")), builtin)
    assert suite.entrants[0].label == "unet[width=2,levels=1]"
    assert suite.trainings == {}


def test_an_added_entrant_cannot_have_the_label_of_an_entrant_with_its_own_training(write_suite, builtin):
    file = write_suite((UNET, 'unet: {width: 2, levels: 1, label: "unet[width=3]", training: {steps: 3}}'))
    with pytest.raises(gahbench.GahbenchError, match=r"two entries have the label 'unet\[width=3\]'"):
        load_suite(file, builtin, ("unet[width=3]",))
    file = write_suite((UNET, 'unet: {width: 2, levels: 1, label: "unet[width=2,levels=1]", training: {steps: 3}}'))
    with pytest.raises(gahbench.GahbenchError, match="two entrants with different training have this label"):
        load_suite(file, builtin, ("unet[width=2,levels=1]",))
