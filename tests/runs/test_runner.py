"""Tests of runs of the tiny suite, and of small versions of suites that take long, in this process."""

import numpy as np
import pytest
import yaml
from interrupted_runs import times
from safetensors.torch import load_file
from sample_files import REFERENCES, TINY
from tiny_runs import UNET, board, entrants, run, run_and_list

import gahbench
from gahbench.planning.suite_files import suite_files

pytestmark = pytest.mark.usefixtures("figures_not_rendered")


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


def test_datasets_with_equal_images_are_computed_once(write_suite, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8)
    for name in ("one", "two"):
        np.savez(tmp_path / f"{name}.npz", images=images)
    file = write_suite(("sinusoids: {size: 16}", f"faces: {{path: [{tmp_path}/one.npz, {tmp_path}/two.npz]}}"))
    outcome = run(file, tmp_path / "out")
    assert (outcome.done, outcome.failed) == (14, 0)
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
        (TINY, ("steps: 12", "steps: 13"), 1, 2),
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
        (
            *("attention", "c-alpha[alpha=2,size=8]"),
            {"images": 28, "metrics": ["psnr", "generalization-gap", "direction"]},
            ["psnr", "generalization-gap", "direction[graph-laplacian]"],
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
