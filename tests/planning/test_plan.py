"""Plans: keys, work and order of units, enough images, and pairs that are refused or undefined."""

import contextlib

import numpy as np
import pytest

import gahbench
from gahbench._util.errors import DataError, ParameterError, PluginError, SuiteError
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import SuiteChanges, load_suite
from gahbench.registry.registry import Registry

PLUGINS = """
import gahbench

@gahbench.hookimpl
def register_references(register):
    for name, reference in (("unsure", Unsure), ("clumsy", Clumsy), ("picky", Picky), ("elsewhere", Elsewhere)):
        register(name, reference)

@gahbench.hookimpl
def register_datasets(register):
    register("broken", Broken)

class Unsure(gahbench.Reference):
    "Raises in supports."
    def supports(self, dataset): raise RuntimeError("unsure")
    def denoise(self, noisy, sigma, truth): return noisy

class Clumsy(Unsure):
    "Raises in check_shape."
    def supports(self, dataset): return True
    def check_shape(self, shape): raise RuntimeError("clumsy")

class Picky(Clumsy):
    "Refuses images of 16x16 pixels."
    def check_shape(self, shape):
        if shape[-1] == 16: raise ValueError("16 is too few")

class Elsewhere(Picky):
    "Is not defined on datasets of 16x16 pixels."
    def supports(self, dataset): return dataset.shape[-1] != 16

class Broken:
    "A dataset whose shape raises."
    def __init__(self, error: str = "KeyError"): self.error = error
    def available(self, split): return None
    def shapes(self, count): return None
    noise_kind = None
    @property
    def shape(self): raise {"KeyError": KeyError, "DataError": gahbench.DataError}[self.error]("no shape")
"""
UNET = "unet: {width: 2, levels: 1}"
ENTRANTS = f"  - {UNET}\n  - identity\n  - oracle-threshold: {{basis: haar}}\n"
NO_BASELINE = ("baseline: oracle-threshold[haar]\n", "")
TWO_SIZES = ("  - sinusoids: {size: 16}\n", "  - sinusoids: {size: [16, 32]}\n")


def keys(file, registry, extra=()):
    plan = make_plan(load_suite(file, registry, SuiteChanges(extra)))
    return {
        (unit.kind, unit.dataset, unit.entrant, unit.seed, unit.split, unit.metric): unit.key for unit in plan.units
    }


@pytest.fixture
def plan_with(write_suite, tmp_path):
    (tmp_path / "failing.py").write_text(PLUGINS)
    registry = Registry((tmp_path / "failing.py",))

    def plan(*entrants, changes=(), added=()):
        listed = (ENTRANTS, "".join(f"  - {entrant}\n" for entrant in entrants)) if entrants else ("", "")
        return make_plan(load_suite(write_suite(listed, NO_BASELINE, *changes), registry, SuiteChanges(added)))

    return plan


def test_keys_do_not_depend_on_order_or_display(write_suite, builtin):
    first = keys(write_suite(), builtin)
    changes = [
        ("width: 2, levels: 1", "levels: 1, width: 2"),
        ("name: tiny", "name: other\ndescription: words"),
        ("  - identity\n", ""),
        ("entrants:\n", "entrants:\n  - identity\n"),
        ("validations: 2", "validations: 3"),
    ]
    assert keys(write_suite(*changes), builtin) == first


def test_the_path_of_a_nested_dataset_does_not_change_keys(write_suite, builtin, tmp_path):
    keys_by_unit = []
    for folder in ("here", "there"):
        file = tmp_path / folder / f"{folder}.npz"
        file.parent.mkdir()
        np.savez(file, images=np.random.default_rng(0).random((30, 16, 16), dtype=np.float32))
        wrapped = f"shuffled: {{dataset: 'faces[path={file}]'}}"
        keys_by_unit.append(keys(write_suite(("sinusoids: {size: 16}", wrapped)), builtin))
    assert list(keys_by_unit[0].values()) == list(keys_by_unit[1].values())
    assert {name[1] for name in keys_by_unit[0]} == {"shuffled[faces[here.npz]]"}


def test_work_counts_multiply_adds(plan_with):
    network = (UNET, "bf-cnn: {width: 4, layers: 2}")
    # 12 steps of 4 images; two 3x3 convolutions of 4 pairs of channels on 16x16 pixels; forward and backward.
    assert plan_with(changes=[network]).fits[0].work == pytest.approx(3 * (2 * 4 * 9 * 256) * 48)


def test_fits_come_first_and_scores_in_the_order_of_the_suite(plan_with):
    plan = plan_with(changes=[TWO_SIZES])
    sizes, entrants = ("sinusoids[size=16]", "sinusoids[size=32]"), [entrant.label for entrant in plan.suite.entrants]
    assert [(unit.kind, unit.dataset, unit.entrant, unit.metric) for unit in plan.units] == [
        *(("fit", size, entrants[0], None) for size in sizes),
        *(("score", size, entrant, name) for size in sizes for entrant in entrants for name in ("psnr", "slope")),
    ]


def test_python_gets_the_plan_as_a_table(write_suite, builtin):
    file = write_suite()
    units = gahbench.plan(file, seeds=[3], only=["unet*"]).units
    expected = make_plan(load_suite(file, builtin, SuiteChanges(seeds=[3], only=["unet*"]))).units
    names = ["kind", "dataset", "entrant", "seed", "metric", "key"]
    assert list(units) == names
    assert units.astype(object).where(units.notna(), None).to_numpy().tolist() == [
        [getattr(unit, name) for name in names] for unit in expected
    ]


def test_references_are_planned_where_they_are_defined_and_accept_the_images(plan_with):
    # References that raise other errors than refusals report them in their rows.
    plan = plan_with("elsewhere", "picky", "unsure", "clumsy", "identity", changes=[TWO_SIZES])
    small = {entrant for (dataset, entrant), pair in plan.pairs.items() if dataset == "sinusoids[size=16]" and
             pair.is_defined and pair.refusal is None}  # fmt: skip
    assert small == {"unsure", "clumsy", "identity"}
    planned = {(unit.dataset, unit.entrant) for unit in plan.units}
    assert planned == {("sinusoids[size=16]", name) for name in small} | {
        ("sinusoids[size=32]", name) for name in ("elsewhere", "picky", *small)
    }
    assert plan.board["refused"] == [["sinusoids[size=16]", "picky", "16 is too few"]]


def test_an_entrant_without_any_dataset_raises_at_its_line_or_option(plan_with):
    with pytest.raises(SuiteError, match=r"tiny\.yaml:6: reference 'elsewhere' on sinusoids.*: not defined .*'exact'"):
        plan_with("elsewhere")
    with pytest.raises(SuiteError, match=r"tiny\.yaml:7: reference 'picky' on sinusoids.*16 is too few"):
        plan_with("unsure", "picky")
    with pytest.raises(SuiteError, match=r"^--entrant picky: reference 'picky' on sinusoids"):
        plan_with(added=["picky"])


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [("KeyError", PluginError, "cannot be used: KeyError: 'no shape'"), ("DataError", DataError, "no shape")],
)
def test_a_failing_dataset_raises(plan_with, error, kind, message):
    with pytest.raises(kind, match=rf"tiny\.yaml:4: dataset 'broken.*': {message}"):
        plan_with(changes=[("sinusoids: {size: 16}", f"broken: {{error: {error}}}")])


@pytest.mark.usefixtures("figures_not_rendered")
def test_networks_are_tried_out(write_suite, write_plugin, tmp_path):
    sweep = ("steps: 12", "steps: 2, train_images: [2, 3]")
    file = write_suite(TWO_SIZES, sweep, (UNET, "unet: {width: 2, levels: 5}"))
    outcome = gahbench.run(file, tmp_path / "out", engine="inline", only=["unet", "identity"])
    assert (outcome.failed, outcome.waiting) == (0, 0)
    board = outcome.leaderboard(full=True).set_index(["dataset", "entrant"])
    for number in (2, 3):
        label = f"unet[width=2,levels=5] N={number}"
        assert board.loc[("sinusoids[size=16]", label), "note"].startswith("cannot take these images: ")
        assert np.isnan(board.loc[("sinusoids[size=16]", label), "psnr"])
        assert board.loc[("sinusoids[size=32]", label), "psnr"] > 0
    # A network that raises other errors reports them in its row.
    registry = Registry((write_plugin("raises", "return self.noise(noisy) + undefined"),))
    suite = load_suite(write_suite(), registry, SuiteChanges(["raises"]))
    assert "raises" in {unit.entrant for unit in make_plan(suite).fits}


def test_all_images_of_a_dataset_can_be_scored(plan_with):
    plan = plan_with("identity", changes=[("- sinusoids: {size: 16}", "- whole"), ("images: 3", "images: all")])
    assert {unit.payload["images"] for unit in plan.units} == {1}


@pytest.mark.parametrize("entrant", ["nl-means", "tv", "local-score", "oracle-threshold: {basis: pca}"])
def test_a_reference_that_learns_is_refused_on_test_images_alone(plan_with, builtin, monkeypatch, entrant):
    assert plan_with(entrant).units
    monkeypatch.setattr(
        builtin.get("dataset", "sinusoids").factory, "available", lambda self, split: 3 * (split == "test")
    )
    assert plan_with("nl-means: {h: 0.1}").units
    with pytest.raises(SuiteError, match=r"yaml:6: reference '.*no (train|validation) images"):
        plan_with(entrant)


def test_a_network_that_changes_the_shape_of_images_is_refused(write_plugin, write_suite):
    registry = Registry((write_plugin("crops", "return noisy[..., 1:-1, 1:-1]"),))
    with pytest.raises(
        SuiteError, match=r"'crops' on .*returned shape \(1, 1, 14, 14\) for images of \(1, 1, 16, 16\)"
    ):
        make_plan(load_suite(write_suite(), registry, SuiteChanges(["crops"])))


@pytest.mark.parametrize(("counts", "split"), [({"test": 2}, "test"), ({"train": 2}, "train")])
def test_a_smaller_dataset_is_scored_on_all_its_images(plan_with, builtin, monkeypatch, counts, split):
    sinusoids = builtin.get("dataset", "sinusoids").factory
    monkeypatch.setattr(sinusoids, "available", lambda self, split: counts.get(split))
    with pytest.warns(UserWarning, match=f"images=3: the {split} split has 2 images"):
        plan = plan_with("identity", changes=[("images: 3", "images: 3, splits: [test, train]")])
    assert {unit.payload["images"] for unit in plan.units if unit.split == split} == {2}


def trains(fields):
    return ("steps: 12", f"steps: 12, {fields}")


SPLITS = ("images: 3", "images: 3, splits: [test, train]")
HALVES = trains("train_images: 2, halves: true")


@pytest.mark.parametrize(
    ("counts", "changes", "entrants", "message"),
    [
        ({"test": 3, "train": 1}, [], (), None),
        ({"train": 0}, [], (), "train_images=1 requested from the train split, which holds 0 images"),
        ({"test": 0}, [], (), "images=3 requested from the test split, which holds 0 images"),
        ({"train": 3}, [trains("train_images: 4")], (), "train_images=4 requested from the train split"),
        # With halves, networks are scored on the images that they learned from.
        ({"train": 0, "A": 2, "B": 2}, [SPLITS, HALVES], (UNET,), None),
        ({"A": 2, "B": 1}, [HALVES], (), "train_images=2 requested from the B split"),
        # Some references learn from training images in a sweep, or with halves.
        ({"train": 0}, [trains("train_images: 4")], ("identity",), None),
        ({"train": 3}, [trains("train_images: [1, 4]")], ("empirical-bayes",), "train_images=4 requested"),
        ({"A": 0}, [trains("halves: true")], ("empirical-bayes",), "train_images=1 requested from the A split"),
    ],
)
def test_datasets_need_enough_images(plan_with, builtin, monkeypatch, counts, changes, entrants, message):
    sinusoids = builtin.get("dataset", "sinusoids").factory
    monkeypatch.setattr(sinusoids, "available", lambda self, split: counts.get(split))
    with pytest.raises(DataError, match=message) if message else contextlib.nullcontext():
        assert plan_with(*entrants, changes=changes).units


def test_metrics_may_need_a_number_of_images_and_refuse_a_dataset(plan_with, builtin, monkeypatch):
    def check(self, shape, sigmas):
        if shape[-1] != 16:
            raise ValueError(f"{shape} at {list(sigmas)}")

    slope = builtin.get("metric", "slope").factory
    monkeypatch.setattr(slope, "min_images", 3)
    assert plan_with().units
    with pytest.raises(ParameterError, match=r"metric 'slope': on sinusoids.*: images=2; accepted: 3 or more"):
        plan_with(changes=[("images: 3", "images: 2")])
    monkeypatch.setattr(slope, "advised_images", 4)
    with pytest.warns(UserWarning, match="metric 'slope': images=3: it may leave out some; 4 or more are advised"):
        plan_with()
    monkeypatch.setattr(slope, "advised_images", 3)
    monkeypatch.setattr(slope, "check", check)
    with pytest.raises(ParameterError, match=r"slope': on sinusoids\[size=32\]: \(1, 32, 32\) at \[0.1, 0.3\]"):
        plan_with(changes=[TWO_SIZES])
