"""Jacobians of an evaluation: the choice of bfloat16, and its accuracy."""

import gc
import weakref

import pytest
import torch

import gahbench
from gahbench.evaluation import Evaluation, remove_strength
from gahbench.jacobian import DenseMaps
from gahbench.networks import Trained
from gahbench.networks.precision import Choice

SIGMA = 0.2


def evaluation(precision, count=26, network="bf-cnn"):
    dataset = gahbench.create("dataset", "discs[size=12]")
    torch.manual_seed(0)
    parameters = {"width": 8, "layers": 4} if network == "bf-cnn" else {"width": 8, "depth": 1}
    built = gahbench.create("architecture", network, shape=dataset.shape, **parameters)
    # Scale the weights, since untrained networks hardly change an image.
    for parameter in built.parameters():
        parameter.data.mul_(2.5)
    return Evaluation(Trained(built), dataset.images("test", count), [SIGMA], jacobian_precision=precision)


def test_matrices_agree_with_float32_and_the_error_is_stated():
    exact, fast = evaluation("float32"), evaluation("bfloat16")
    exact_matrices, fast_matrices = (
        exact.local_filters.matrices(SIGMA).double(),
        fast.local_filters.matrices(SIGMA).double(),
    )
    difference = ((exact_matrices - fast_matrices).flatten(1).norm(dim=1) / exact_matrices.flatten(1).norm(dim=1)).max()
    assert 0 < float(difference) <= 0.01
    assert fast.jacobian_error == pytest.approx(float(difference), rel=1.0)
    assert exact.jacobian_error == 0


@pytest.mark.parametrize("entrant", ["local-blur", None])
def test_caches_keep_no_more_than_their_size(monkeypatch, entrant):
    monkeypatch.setattr("gahbench.evaluation.local_filters.MEMORY", 1)
    alive, initialise = [], DenseMaps.__init__

    def record(self, matrices, *arguments, **keywords):
        alive.append(weakref.ref(matrices))
        initialise(self, matrices, *arguments, **keywords)

    monkeypatch.setattr(DenseMaps, "__init__", record)
    dataset = gahbench.create("dataset", "discs[size=8]")
    images = dataset.images("test", 26)
    if entrant is None:
        network = gahbench.create("architecture", "bf-cnn[width=4,layers=3]", shape=dataset.shape).eval()
        measured = Evaluation(Trained(network), images, [0.1, 0.2, 0.3], dataset=dataset)
    else:
        measured = Evaluation(gahbench.create("reference", entrant), images, [0.1, 0.2, 0.3], dataset=dataset)
    kept = []
    for sigma in measured.sigmas:
        remove = remove_strength(measured.local_filters.trace(sigma).value)
        kept.append(weakref.ref(measured.local_filters.adaptation(sigma, remove, directional=True).sketch.rows))
        kept.append(weakref.ref(measured.local_filters.matrices(sigma)))
    gc.collect()
    # Each entry is larger than a byte, so that only the latest entry of each cache is kept.
    assert [reference() is not None for reference in kept] == [False, False, False, False, True, True]
    assert sum(reference() is not None for reference in alive) <= 2


@pytest.mark.parametrize("count", [3, 24])
def test_the_error_relative_to_the_change_of_filters_must_be_small_too(monkeypatch, count):
    exact = evaluation("float32", count).local_filters.matrices(SIGMA)
    rounded = evaluation("bfloat16", count).local_filters
    assert not torch.equal(rounded.matrices(SIGMA), exact)
    monkeypatch.setattr("gahbench.evaluation.local_filters.MAX_SHARE_OF_CHANGE", 1e-9)
    strict = evaluation("bfloat16", count).local_filters
    assert torch.equal(strict.matrices(SIGMA), exact)
    assert strict.error == 0 < rounded.error


def test_the_faster_precision_is_chosen_and_stated(monkeypatch):
    exact = evaluation("auto", 4)
    # With little work, "auto" chooses float32 without a measurement.
    assert torch.equal(exact.local_filters.matrices(SIGMA), evaluation("float32", 4).local_filters.matrices(SIGMA))
    assert (exact.jacobian_choice.precision, exact.jacobian_error) == ("float32", 0)
    monkeypatch.setattr("gahbench.devices.hardware.Hardware.has_bfloat16", True)
    monkeypatch.setattr("gahbench.networks.precision.measure", lambda *given: Choice("bfloat16", "faster"))
    fast = evaluation("auto", 4)
    assert torch.equal(fast.local_filters.matrices(SIGMA), evaluation("bfloat16", 4).local_filters.matrices(SIGMA))
    assert fast.jacobian_choice == Choice("bfloat16", "faster")


def test_networks_with_other_nonlinearities_use_float32_and_the_choice_says_so(monkeypatch):
    exact, fast = evaluation("float32", 4, "vit"), evaluation("bfloat16", 4, "vit")
    assert torch.equal(exact.local_filters.matrices(SIGMA), fast.local_filters.matrices(SIGMA))
    assert fast.jacobian_error == 0
    monkeypatch.setattr("gahbench.devices.hardware.Hardware.has_bfloat16", True)
    monkeypatch.setattr("gahbench.networks.precision.MIN_SECONDS", 0.0)
    monkeypatch.setattr("gahbench.networks.precision.MAX_SHARE", 1e9)
    automatic = evaluation("auto", 4, "vit")
    automatic.local_filters.matrices(SIGMA)
    assert automatic.jacobian_choice.precision == "float32"
    assert "ReLUs" in automatic.jacobian_choice.reason


def test_a_suite_may_ask_for_float32_which_changes_the_keys_of_scores(tmp_path):
    from gahbench.planning.plan import make_plan
    from gahbench.planning.suite import load_suite
    from gahbench.registry.registry import Registry

    text = """
name: precise
datasets: [{discs: {size: 8}}]
entrants: [{bf-cnn: {width: 4, layers: 3}}, identity]
training: {steps: 1, batch_size: 2}
scoring: {sigmas: [0.1], images: 4, metrics: [psnr, spectrum]%s}
"""
    keys = []
    for option in ("", ", jacobian_precision: auto", ", jacobian_precision: float32"):
        (tmp_path / "precise.yaml").write_text(text % option)
        registry = Registry()
        plan = make_plan(load_suite(tmp_path / "precise.yaml", registry))
        keys.append({(unit.entrant, unit.metric): unit.key for unit in plan.units})
    assert keys[0] == keys[1]
    # Only the keys of scores with Jacobians change.
    assert {metric for (_, metric), key in keys[0].items() if key != keys[2][_, metric]} == {"spectrum"}
