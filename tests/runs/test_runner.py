"""Runs in this process: of the tiny suite, of small versions of long suites, and with units of other folders."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from finished_units import change_weights
from interrupted_runs import times
from safetensors.torch import load_file
from sample_files import REFERENCES, TINY
from tiny_runs import UNET, board, entrants, run, run_and_list, units_of

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.planning.suite_files import suite_files
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("figures_not_rendered")


@pytest.mark.parametrize("engine", ["local", "inline"])
def test_a_device_that_is_absent_is_refused_before_a_folder_is_made(write_suite, out, monkeypatch, engine):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(gahbench.GahbenchError, match="device 'cuda' was requested"):
        gahbench.run(write_suite(), out / "new", device="cuda", engine=engine)
    assert not (out / "new").exists()


def test_a_run_writes_a_board_and_weights_that_can_be_loaded(write_suite, out):
    outcome = run(write_suite(), out)
    assert (outcome.done, outcome.failed, outcome.waiting) == (7, 0, 0)
    names = {file.name for file in out.iterdir()}
    assert {"leaderboard.csv", "leaderboard.md", "scores.parquet", "environment.json"} <= names
    assert len(list((out / "figures").glob("*.svg"))) == 1
    needed = {"suite", "dataset", "entrant", "kind", "seed", "split", "sigma", "metric", "image", "value"}
    assert needed <= set(outcome.results.scores.columns)
    rows = outcome.leaderboard(full=True).set_index("entrant")
    assert set(rows.index) == {UNET, "identity", "oracle-threshold[haar]"}
    assert rows.loc["oracle-threshold[haar]", "gain_over_baseline"] == 0
    assert rows.loc["identity", "gain_over_noisy"] == pytest.approx(0, abs=0.5)
    assert rows.loc[UNET, "parameters"] > 0
    loaded = gahbench.load_results(out)
    assert loaded.scores.equals(outcome.results.scores)
    assert loaded.leaderboard(full=True).equals(outcome.leaderboard(full=True))
    (fit,) = (out / "units").glob("fit-*")
    assert (fit / "history.csv").read_text().startswith("step,seconds,loss,psnr@")
    network, state = gahbench.create("architecture", "unet", width=2, levels=1), load_file(fit / "weights.safetensors")
    network.load_state_dict(state)
    assert all(state[name].equal(value) for name, value in network.state_dict().items())


def test_all_entrants_are_scored_on_the_same_images_and_noise(write_suite, write_class, tmp_path):
    """The same denoiser under two names has equal scores, to the last digit."""
    body, names = "def denoise(self, noisy, sigma, truth): return noisy", ["again", "twice"]
    files = [write_class("reference", body, name) for name in names]
    scores = run(write_suite(), tmp_path / "out", entrants=names, plugins=files).results.scores
    values = scores.pivot_table(index=["metric", "sigma", "image"], columns="entrant", values="value", dropna=False)
    assert len(values["again"].dropna()) == 6 + 3
    assert values["again"].dropna().equals(values["twice"].dropna().rename("again"))


def test_a_board_shows_what_its_run_asked_for_and_finished_units_wait(write_suite, write_plugin, out):
    before = times(out)
    plugin = write_plugin("mine", "return noisy - self.noise(noisy)")
    added = {"entrants": ["mine[width=3]"], "plugins": [plugin]}
    first = run(write_suite(), out, **added)
    assert "mine[width=3]" in entrants(first)
    assert {file: times(out)[file] for file in before} == before
    assert entrants(run(write_suite(), out, only=["identity"])) == {"identity", "oracle-threshold[haar]"}
    # The units of the other rows wait for a run that asks for them again.
    again, done = run_and_list(write_suite(), out, **added)
    assert done == []
    assert board(again).equals(board(first))


def test_datasets_with_equal_images_are_computed_once_by_a_quiet_run(write_suite, tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8)
    for name in ("one", "two"):
        np.savez(tmp_path / f"{name}.npz", images=images)
    file = write_suite(("sinusoids: {size: 16}", f"faces: {{path: [{tmp_path}/one.npz, {tmp_path}/two.npz]}}"))
    outcome = run(file, tmp_path / "out", quiet=True)
    assert (outcome.done, outcome.failed, capsys.readouterr().err) == (14, 0, "")
    rows = outcome.leaderboard(full=True).set_index(["dataset", "entrant"])["psnr"].unstack("dataset")
    assert (rows["faces[one.npz]"] == rows["faces[two.npz]"]).all()


def test_damaged_weights_are_not_scored_but_trained_again(write_suite, out):
    (weights,) = (out / "units").glob("fit-*/weights.safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.warns(UserWarning, match="3 finished units were damaged, moved to .*damaged, and will be recomputed"):
        outcome, finished = run_and_list(write_suite(("metrics: [psnr, slope]", "metrics: [psnr, slope, ssim]")), out)
    done = [unit.metric for unit in finished if unit.seed == 0]
    assert (done[0], sorted(done[1:])) == (None, ["psnr", "slope", "ssim"])
    assert outcome.failed == 0
    assert weights.read_bytes() == content


@pytest.mark.parametrize(
    ("text", "change", "fits", "scores"),
    [
        # A network has a score for PSNR and a score for its slope. References do not depend on the seed.
        (TINY, ("baseline:", "seeds: [0, 1]\nbaseline:"), 1, 2),
        (TINY, ("[psnr, slope]", "[psnr, slope, ssim]"), 0, 3),
        (REFERENCES, ("images: 3", "images: 3, splits: [test, validation]"), 0, 4),
        (REFERENCES, ("sigmas: [0.1, 0.3]", "sigmas: [0.1, 0.2, 0.3]"), 0, 4),
    ],
)
def test_only_new_units_are_computed_when_a_suite_grows(request, write_suite, tmp_path, text, change, fits, scores):
    """The board equals the board of a new folder, finished units are kept, and the suite can shrink again."""
    folder = request.getfixturevalue("out" if text == TINY else "references_out")
    before, first = times(folder), board(gahbench.load_results(folder))
    grown, done = run_and_list(write_suite(change, text=text), folder)
    kinds = [unit.kind for unit in done]
    assert (kinds.count("fit"), kinds.count("score")) == (fits, scores)
    assert board(grown).equals(board(run(write_suite(change, text=text), tmp_path / "whole")))
    assert {file: times(folder)[file] for file in before} == before
    again, done = run_and_list(write_suite(text=text), folder)
    assert (done, board(again).equals(first)) == ([], True)


def test_shards_divide_the_rows_of_a_suite(write_suite, tmp_path):
    out, suite = tmp_path / "out", write_suite()
    counts = [run(suite, out, shard=f"{index}/3").done for index in (1, 2, 3)]
    assert sorted(counts) == [0, 3, 4]  # There are two rows: a network, and both references.
    assert not (out / "results.json").exists()
    assert board(run(suite, out)).equals(board(run(suite, tmp_path / "whole")))
    for shard in ("0/3", "4/3", "1", "a/b"):
        with pytest.raises(gahbench.ParameterError, match="accepted: I/N with I from 1 to N"):
            run(suite, out, shard=shard)


def test_scores_of_a_network_that_returns_nan_fail(write_suite, write_plugin, tmp_path):
    plugin = write_plugin("nan", "out = noisy - self.noise(noisy)\nreturn out if self.training else out * float('nan')")
    outcome = run(write_suite(), tmp_path / "out", entrants=["nan"], plugins=[plugin])
    assert outcome.failed == 2
    assert "such as nan" in outcome.leaderboard(full=True).set_index("entrant").loc["nan", "note"]


def test_references_learn_from_examples_and_their_notes_are_on_the_board(write_suite, write_class, tmp_path):
    body = (
        "met = ()\n"
        "notes = property(lambda self: (f'met {self.met}',))\n"
        "def fit(self, examples): self.mean = examples.training(10).mean(0)\n"
        "def denoise(self, noisy, sigma, truth):\n"
        "    self.met = tuple(sorted({*self.met, sigma}))\n"
        "    return self.mean.expand(noisy.shape)"
    )
    file = write_class("reference", body, "mean")
    suite = write_suite(("metrics: [psnr, slope]", "metrics: [ssim, psnr, slope]"))
    outcome = run(suite, tmp_path / "out", plugins=[file], entrants=["mean"])
    assert outcome.failed == 0
    levels = sorted(outcome.results.scores["sigma"].dropna().unique().tolist())
    rows = outcome.leaderboard(full=True).set_index("entrant")
    assert rows.loc["mean", "note"].split("; ")[-1] == f"met {tuple(levels)}"
    assert rows.loc["identity", "note"] == ""
    dataset = gahbench.create("dataset", outcome.results.scores["dataset"].iloc[0])
    mean, clean = dataset.images("train", 10).mean(0), dataset.images("test", 2)
    psnr = -10 * (mean - clean).double().square().mean((1, 2, 3)).log10()
    scores = outcome.results.scores.query("entrant == 'mean' and metric == 'psnr' and image < 2").sort_values(
        ["sigma", "image"]
    )
    assert scores["value"].tolist() == pytest.approx(psnr.tolist() * len(levels))
    assert gahbench.load_results(tmp_path / "out").notes.to_dict("records") == outcome.results.notes.to_dict("records")


@pytest.mark.parametrize(
    ("name", "dataset", "fields", "metrics"),
    [
        pytest.param(
            *("attention", "c-alpha[alpha=2,size=8]"),
            {"images": 28, "metrics": ["psnr", "generalization-gap", "direction"]},
            ["psnr", "generalization-gap", "direction[graph-laplacian]"],
            marks=pytest.mark.slow,
        ),
        (
            *("flows", "sinusoids[size=8]"),
            {"images": 3, "sampling": {"count": 3, "sampler": "flow", "sigma_end": 0.1, "levels": 4}},
            ["flow-distance[optimal]", "local-dimension.excess", "selective-underfitting.supervision"],
        ),
    ],
)
def test_a_small_version_of_a_suite_runs(tmp_path, name, dataset, fields, metrics):
    content = yaml.safe_load(suite_files()[name].read_text(encoding="utf-8"))
    networks = [entry for entry in content["entrants"] if isinstance(entry, dict) and {"dit", "unet"} & set(entry)]
    content |= {"seeds": [0], "datasets": [dataset], "entrants": networks}
    content["training"] |= {"train_images": [30 if name == "attention" else 4], "steps": 2}
    content["scoring"] |= {"splits": ["test"], "sigmas": [0.2], **fields}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    scores = run(tmp_path / "small.yaml", tmp_path / "out").results.scores
    assert len(scores.entrant.unique()) == len(networks)
    for metric in metrics:
        assert set(scores[scores.metric == metric].entrant) == set(scores.entrant), metric


def seeds(*numbers):
    return ("training:", f"seeds: {list(numbers)}\ntraining:")


HALVES = ("training: {", "training: {halves: true, train_images: 3, ")
SPLITS = ("scoring: {sigmas", "scoring: {splits: [test, validation], sigmas")


def sweep(counts):
    return ("training: {", f"training: {{train_images: {counts}, ")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ((HALVES,), [(seeds(0, 1),), (seeds(0),), (seeds(1),)]),
        ((), [(SPLITS, sweep([2, 4])), (sweep([2]), ("  - identity\n", "")), (SPLITS, sweep([2, 4]))]),
    ],
    ids=["seeds", "entrants, splits and numbers of images"],
)
def test_folders_are_merged_by_reusing_both(write_suite, tmp_path, changes, parts):
    common = ("steps: 12", "steps: 2"), *changes
    suites = [write_suite(*common, *part, name=f"{index}.yaml") for index, part in enumerate(parts)]
    whole, first, second = (run(suite, tmp_path / str(index), threads=1).folder for index, suite in enumerate(suites))
    outcome, done = run_and_list(suites[0], tmp_path / "out", reuse=[first, second])
    assert done == []
    assert board(outcome).equals(board(gahbench.load_results(whole)))
    assert (outcome.folder / "scores.parquet").read_bytes() == (whole / "scores.parquet").read_bytes()
    # All units are finished, and do not depend on the merged folders.
    shutil.rmtree(first)
    shutil.rmtree(second)
    units = require_plan(outcome.folder).units
    assert Store(outcome.folder).examine(units).undamaged.keys() == {unit.folder for unit in units}


OTHER_LEVELS = ("sigmas: [0.1, 0.3]", "sigmas: [0.1, 0.2]")


def test_units_of_an_archive_of_another_suite_are_reused(write_suite, tiny_run, tmp_path, command, capsys):
    first = gahbench.load_results(tiny_run)
    archive = Path(shutil.make_archive(str(tmp_path / "units"), "zip", tiny_run))
    grown = write_suite(("name: tiny", "name: other"), ("entrants:\n", "entrants:\n  - bayes-shrink\n"))
    outcome, done = run_and_list(grown, tmp_path / "new", reuse=[archive])
    assert {unit.entrant for unit in done} == {"bayes-shrink[sym4]"}
    assert capsys.readouterr().err.splitlines()[:1] == ["7 units taken from other folders, 1 fit among them"]
    both = board(outcome).set_index("entrant")["psnr"], board(first).set_index("entrant")["psnr"]
    assert both[0][both[1].index].equals(both[1])
    status, printed, _ = command("leaderboard")(archive, "--format", "csv")
    assert (status, "identity" in printed) == (0, True)
    # The reused units do not depend on the archive.
    archive.unlink()
    assert run_and_list(grown, tmp_path / "new")[1] == []


def test_damaged_units_are_not_reused_and_the_next_folder_is_tried(write_suite, tiny_run, out, tmp_path, capsys):
    (fit,) = units_of(out, kind="fit")
    (Store(out).path(fit) / "weights.safetensors").write_bytes(b"")
    _, done = run_and_list(write_suite(), tmp_path / "one", reuse=[out])
    # The scores are recomputed too, since the retrained weights may differ from those that they measured.
    note = capsys.readouterr().err.splitlines()[1]
    assert note.startswith(f"3 units not taken: {fit.label} of {out}: ")
    assert "weights.safetensors: damaged" in note
    assert note.count("measured weights that differ") == 2
    assert {unit.entrant for unit in done} == {UNET}
    assert run_and_list(write_suite(), tmp_path / "two", reuse=[out, tiny_run])[1] == []
    assert "not taken" not in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_not_a_damaged_source(write_suite, tiny_run, tmp_path, monkeypatch):
    def fail(source, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("shutil.copy2", fail)
    with pytest.raises(OSError, match=r"No space left on device: .*/out/units/"):
        run_and_list(write_suite(), tmp_path / "out", reuse=[tiny_run])
    assert Store(tmp_path / "out").finished() == set()
    assert list((tmp_path / "out" / "units").iterdir()) == []


def test_scores_of_other_weights_are_not_reused(write_suite, out, tmp_path, capsys):
    first = gahbench.load_results(out)
    change_weights(out)
    # The new folder has a network with the same key, but no scores of it.
    run_and_list(write_suite(OTHER_LEVELS), tmp_path / "new")
    outcome, done = run_and_list(write_suite(), tmp_path / "new", reuse=[out])
    assert {(unit.kind, unit.entrant) for unit in done} == {("score", UNET)}
    assert len(done) == 2
    assert "4 units taken from other folders, 0 fits" in capsys.readouterr().err
    assert board(outcome).equals(board(first))


def test_a_network_is_reused_together_with_the_scores_that_measured_it(write_suite, tiny_run, out, tmp_path):
    change_weights(out)
    _, done = run_and_list(write_suite(), tmp_path / "new", reuse=[out, tiny_run])
    assert done == []
    new, first, second = (Store(folder) for folder in (tmp_path / "new", out, tiny_run))
    for unit in units_of(new.folder, kind="score", entrant=UNET):
        assert new.read_scores(unit) == first.read_scores(unit) != second.read_scores(unit)


@pytest.mark.parametrize("source", ["out", "none"])
def test_folders_without_units_to_reuse_are_refused(write_suite, out, tmp_path, source):
    with pytest.raises(ResultsError, match="holds no units of another run"):
        run_and_list(write_suite(), out, reuse=[tmp_path / source])
