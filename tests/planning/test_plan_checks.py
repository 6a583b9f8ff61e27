"""Checks of a plan: invalid suites, refused and undefined pairs, and dry runs."""

import contextlib
import math

import numpy as np
import pytest

import gahbench
from gahbench._util.errors import DataError, ParameterError, PluginError, SuiteError
from gahbench.planning.dry_run import dry_run
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
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
    @property
    def shape(self): raise {"KeyError": KeyError, "DataError": gahbench.DataError}[self.error]("no shape")
"""
ENTRANTS = "  - unet: {width: 2, levels: 1}\n  - identity\n  - oracle-threshold: {basis: haar}\n"
NO_BASELINE = ("baseline: oracle-threshold[haar]\n", "")


@pytest.fixture
def plan_with(write_suite, tmp_path):
    (tmp_path / "failing.py").write_text(PLUGINS)
    registry = Registry((tmp_path / "failing.py",))

    def plan(*entrants, changes=(), **keywords):
        listed = (ENTRANTS, "".join(f"  - {entrant}\n" for entrant in entrants)) if entrants else ("", "")
        return make_plan(load_suite(write_suite(listed, NO_BASELINE, *changes), registry), **keywords)

    return plan


TWO_SIZES = ("  - discs: {size: 16}\n", "  - discs: {size: [16, 32]}\n")


def test_a_reference_checks_shapes_only_on_datasets_that_it_supports(plan_with):
    plan = plan_with("elsewhere", "identity", changes=[TWO_SIZES])
    assert plan.pairs.undefined == {("discs[size=16]", "elsewhere")}
    assert {unit.dataset for unit in plan.units if unit.entrant == "elsewhere"} == {"discs[size=32]"}
    with pytest.raises(SuiteError, match=r"'elsewhere': not defined on any dataset .* discs\[size=16\]: "):
        plan_with("elsewhere")


def test_an_entrant_that_refuses_images_has_no_units_on_that_dataset(plan_with):
    plan = plan_with("picky", "identity", changes=[TWO_SIZES])
    assert plan.pairs.refused == {("discs[size=16]", "picky"): "16 is too few"}
    assert {unit.dataset for unit in plan.units if unit.entrant == "picky"} == {"discs[size=32]"}
    assert plan.board["refused"] == [["discs[size=16]", "picky", "16 is too few"]]


def test_errors_about_entrants_name_the_line_or_option(write_suite, tmp_path):
    (tmp_path / "failing.py").write_text(PLUGINS)
    registry = Registry((tmp_path / "failing.py",))
    suite = write_suite((ENTRANTS, "  - identity\n  - picky\n"), NO_BASELINE)
    with pytest.raises(SuiteError, match=rf"^{suite}:7: reference 'picky' on discs"):
        make_plan(load_suite(suite, registry))
    with pytest.raises(SuiteError, match=r"^--entrant picky: reference 'picky' on discs"):
        make_plan(load_suite(write_suite(), registry, ["picky"]))


def test_checks_continue_after_a_broken_reference(plan_with):
    plan = plan_with("unet[width=2,levels=1]", "unsure", "clumsy", "elsewhere", changes=[TWO_SIZES])
    assert plan.pairs.undefined == {("discs[size=16]", "elsewhere")}
    assert {unit.entrant for unit in plan.units} >= {"unsure", "clumsy"}
    for broken in ("unsure", "clumsy"):
        with pytest.raises(SuiteError, match="'picky' on"):
            plan_with(broken, "picky")


def test_the_error_of_an_undefined_reference_lists_the_optima(plan_with):
    with pytest.raises(SuiteError, match=r"'lower-bound': .* are discs\[size=16\]: exact, no true basis$"):
        plan_with("lower-bound")
    with pytest.raises(SuiteError, match=r"16\]: exact, no true basis, gaussian-field\[.*\]: exact$"):
        plan_with("elsewhere", changes=[("discs: {size: 16}", "discs: {size: 16}\n  - gaussian-field: {size: 16}")])


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [("KeyError", PluginError, "dataset 'broken' cannot be used: KeyError: 'no shape'"),
     ("DataError", DataError, r"tiny\.yaml:\d+: no shape$")],
)  # fmt: skip
def test_a_failing_dataset_raises(plan_with, error, kind, message):
    with pytest.raises(kind, match=message):
        plan_with(changes=[("discs: {size: 16}", f"broken: {{error: {error}}}")])


def test_fits_come_first_and_scores_in_the_order_of_the_suite(plan_with):
    plan = plan_with(changes=[TWO_SIZES])
    order = [(unit.kind, unit.dataset, unit.entrant, unit.metric) for unit in plan.units]
    sizes, entrants = ("discs[size=16]", "discs[size=32]"), [entrant.label for entrant in plan.suite.entrants]
    fits = [("fit", size, entrants[0], None) for size in sizes]
    assert order == fits + [
        ("score", size, entrant, metric) for size in sizes for entrant in entrants for metric in ("psnr", "slope")
    ]
    assert [unit.kind for unit in plan.fits] == ["fit"] * 2
    assert [(row["dataset"], row["fingerprint"]) for row in plan.datasets] == [(size, "") for size in sizes]


def test_networks_without_unfinished_fits_have_no_dry_run(plan_with, monkeypatch):
    shapes = []
    monkeypatch.setattr(
        "gahbench.planning.pairs.dry_run", lambda entrant, shape: shapes.append(shape) or dry_run(entrant, shape)
    )
    seeds = ("training:", "seeds: [0, 1]\ntraining:")
    fits = {(unit.dataset, unit.seed): unit for unit in plan_with(changes=[TWO_SIZES, seeds]).fits}
    assert shapes == [(1, 16, 16), (1, 32, 32)]
    for finished_seeds, remaining in (([0], [16, 32]), ([1], [16, 32]), ([0, 1], [32])):
        shapes.clear()
        keys = {fits["discs[size=16]", seed].key for seed in finished_seeds}
        plan = plan_with(changes=[TWO_SIZES, seeds], is_done=keys.__contains__)
        assert shapes == [(1, size, size) for size in remaining]
        assert all((unit.work > 0) == (int(unit.dataset[11:13]) in remaining) for unit in plan.fits)


def test_a_time_budget_has_infinite_planned_work(plan_with):
    budget = ("steps: 12", "seconds: 3, allow_time_budget: true")
    assert [unit.work for unit in plan_with(changes=[budget], is_done=lambda key: True).fits] == [math.inf]


def trains(fields):
    return ("steps: 12", f"steps: 12, {fields}")


SPLITS = ("images: 3", "images: 3, splits: [test, train]")
VALIDATION = ("images: 3", "images: 3, splits: [test, validation]")


@pytest.mark.parametrize(
    ("counts", "changes", "entrants", "message"),
    [
        ({"test": 3, "train": 1}, [], (), None),
        ({"train": 0}, [], (), "train_images=1 requested from the train split, which holds 0 images"),
        ({"test": 2}, [], (), "images=3 requested from the test split, which holds 2 images"),
        ({"train": 3}, [SPLITS], (), None),
        ({"train": 2}, [SPLITS], (), "images=3 requested from the train split, which holds 2 images"),
        # The larger of two requirements counts.
        ({"train": 2}, [SPLITS, trains("train_images: 5")], (), "train_images=5 requested from the train split"),
        ({"train": 1}, [SPLITS, trains("train_images: 2")], (), " images=3 requested from the train split"),
        ({"train": 4}, [trains("train_images: 4")], (), None),
        ({"train": 3}, [trains("train_images: 4")], (), "train_images=4 requested from the train split"),
        # In a sweep or with halves, rows are scored on the images that they learned from.
        ({"train": 2}, [SPLITS, trains("train_images: [1, 2]")], (), None),
        ({"train": 1}, [SPLITS, trains("train_images: [1, 2]")], (), "train_images=2 requested from the train split"),
        ({"test": 2}, [trains("train_images: [1, 2]")], (), "images=3 requested from the test split"),
        (
            {"validation": 2},
            [VALIDATION, trains("train_images: [1, 2]")],
            (),
            "images=3 requested from the validation split",
        ),
        ({"train": 0, "A": 2, "B": 2}, [SPLITS, trains("train_images: 2, halves: true")], (), None),
        ({"A": 2, "B": 1}, [trains("train_images: 2, halves: true")], (), "train_images=2 requested from the B split"),
        ({"A": 1, "B": 2}, [trains("train_images: 2, halves: true")], (), "train_images=2 requested from the A split"),
        ({"A": 1, "B": 0}, [trains("halves: true")], (), "train_images=1 requested from the B split"),
        # References learn from training images in a sweep, or with halves.
        ({"train": 0}, [trains("train_images: 4")], ("identity",), None),
        (
            {"train": 3},
            [trains("train_images: [1, 4]")],
            ("identity",),
            "train_images=4 requested from the train split",
        ),
        ({"A": 0}, [trains("halves: true")], ("identity",), "train_images=1 requested from the A split"),
    ],
)
def test_datasets_need_enough_images(plan_with, builtin, monkeypatch, counts, changes, entrants, message):
    discs = builtin.get("dataset", "discs").factory
    monkeypatch.setattr(discs, "available", lambda self, split: counts.get(split))
    with pytest.raises(DataError, match=message) if message else contextlib.nullcontext():
        assert plan_with(*entrants, changes=changes).units


def test_units_record_the_training_images_of_rows_and_partners(plan_with):
    plan = plan_with("unet[width=2,levels=1]", changes=[trains("train_images: 2, halves: true")])
    for unit in plan.units:
        if unit.kind == "fit":
            # A network does not depend on its partner.
            assert unit.payload["training"]["halves"] is False
            assert "halves" not in unit.document["training"]
        else:
            assert unit.payload["learned_from"] == {"split": "A", "count": 2}
            assert unit.payload["partner_learned_from"] == {"split": "B", "count": 2}


def test_metrics_that_compare_images_need_a_minimum_number(plan_with, builtin, monkeypatch):
    monkeypatch.setattr(builtin.get("metric", "slope").factory, "min_images", 3)
    assert plan_with().units
    with pytest.raises(ParameterError, match=r"metric 'slope.*': images=2; accepted: 3 or more"):
        plan_with(changes=[("images: 3", "images: 2")])


def test_few_images_for_a_metric_that_may_leave_out_images_are_a_warning(plan_with, builtin, monkeypatch):
    monkeypatch.setattr(builtin.get("metric", "slope").factory, "advised_images", 4)
    with pytest.warns(UserWarning, match=r"metric 'slope.*': images=3: the metric may leave out images.*; 4 or more"):
        assert plan_with().units
    monkeypatch.setattr(builtin.get("metric", "slope").factory, "advised_images", 3)
    assert plan_with().units


def test_metrics_that_refuse_a_dataset_raise(plan_with, builtin, monkeypatch):
    def check(self, shape, sigmas):
        if shape[-1] != 16:
            raise ValueError(f"{shape} at {list(sigmas)}")

    monkeypatch.setattr(builtin.get("metric", "slope").factory, "check", check)
    assert plan_with().units
    with pytest.raises(ParameterError, match=r"slope.* on discs\[size=32\]: \(1, 32, 32\) at \[0.1, 0.3\]"):
        plan_with(changes=[TWO_SIZES])


def test_a_plan_reports_the_error_of_a_forward_pass(write_suite, write_plugin, command):
    file = write_plugin("raises", "return self.noise(noisy) + undefined")
    status, printed, _ = command("plan")(write_suite(), "-p", file, "-e", "raises")
    assert status == 0
    line = file.read_text().splitlines().index("        return self.noise(noisy) + undefined") + 1
    assert f"raises: NameError: name 'undefined' is not defined ({file}:{line})" in printed


def test_refused_rows_are_on_the_board_with_the_reason(figures_not_rendered, write_suite, tmp_path):
    sweep = ("steps: 12", "steps: 2, train_images: [2, 3]")
    file = write_suite(TWO_SIZES, sweep, ("unet: {width: 2, levels: 1}", "unet: {width: 2, levels: 5}"))
    out = tmp_path / "out"
    outcome = gahbench.run(file, out, engine="inline", only=["unet", "identity"])
    assert (outcome.failed, outcome.waiting) == (0, 0)
    board = outcome.leaderboard(full=True).set_index(["dataset", "entrant"])
    for number in (2, 3):
        label = f"unet[width=2,levels=5] N={number}"
        assert board.loc[("discs[size=16]", label), "note"].startswith("cannot take these images: ")
        assert np.isnan(board.loc[("discs[size=16]", label), "psnr"])
        assert board.loc[("discs[size=32]", label), "psnr"] > 0


def test_dry_runs_do_not_compute_on_huge_images():
    """The number of pixels may exceed 64 bits."""
    configured = Registry().configure("architecture", "bf-cnn[width=2,layers=3]")
    assert dry_run(configured, (1, 2**63 - 1, 2**63 - 1)).error is None
