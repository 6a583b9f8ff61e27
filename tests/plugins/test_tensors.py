"""Cached tensors, and equal results on a GPU, which computes all candidates, and on a CPU."""

import pytest
import torch
from constructing import construct

import gahbench
from gahbench.contracts.truth import Truth
from gahbench_plugins._tensors import cache_tensors, candidate_choices, candidate_indices
from gahbench_plugins.bases._bandlets import quadtree
from gahbench_plugins.bases._bandlets.flows import Flows, _orders
from gahbench_plugins.bases.bandlet import Bandlet
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references import _window_sums, oracle_best_basis
from gahbench_plugins.references.oracle_best_basis import OracleBestBasis


def test_cached_results_are_not_inference_tensors():
    built = []

    @cache_tensors(2)
    def zeros(size):
        """Return zeros."""
        built.append(size)
        return torch.zeros(size)

    with torch.inference_mode():
        assert not zeros(3).is_inference()
    assert zeros(3) is zeros(3)
    zeros(4), zeros(5), zeros(3)
    assert built == [3, 4, 5, 3]
    assert (zeros.__name__, zeros.__doc__) == ("zeros", "Return zeros.")


CLEAN = CAlpha(2.0, 32).images("test", 3)
NOISY = CLEAN + 0.1 * torch.randn(CLEAN.shape, generator=torch.Generator().manual_seed(0))


def every_number(mask):
    return torch.arange(mask.numel())


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"wavelet": "haar", "largest": None, "directions": "fine", "flow": "quadratic"},
        {"largest": None, "directions": "fine", "flow": "cubic", "count": "parameters"},
    ],
)
def test_bandlets_are_the_same_if_every_square_is_searched_and_transformed(monkeypatch, form):
    basis, images = Bandlet(**form), NOISY.double()
    fewer = basis.adapt(images, 0.3, noisy=True)
    expected = fewer.analysis(images)
    assert 0 < float((expected != basis._frame(images.shape[1:]).forward(images)).double().mean()) < 0.9
    searched = []
    monkeypatch.setattr(
        quadtree,
        "candidate_indices",
        lambda worth: searched.append(float(worth.double().mean())) or every_number(worth),
    )
    monkeypatch.setattr("gahbench_plugins.bases.bandlet.candidate_indices", every_number)
    adapted = basis.adapt(images, 0.3, noisy=True)
    # Some squares were not searched.
    assert min(searched) < 1
    for image in range(len(images)):
        assert adapted.geometry(image) == fewer.geometry(image)
    torch.testing.assert_close(adapted.analysis(images), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(adapted.synthesis(expected), images, rtol=0, atol=1e-10)


def test_flows_are_ordered_independently_of_each_other():
    flows = Flows(8, degree=3)
    random = torch.Generator().manual_seed(0)
    some = torch.randint(0, 3, (5, 4, 3), generator=random) + torch.tensor([2, -1, -1])
    alone = _orders(8, len(flows.angles), some.reshape(-1, 3)).view(5, 4, -1)
    assert torch.equal(flows.orders(some), alone)


def test_the_best_basis_is_the_same_if_all_bases_are_computed(monkeypatch):
    best = construct(OracleBestBasis, ("pixel", "dct", "sym4"))
    expected = best.denoise(NOISY, 0.1, Truth(CLEAN))
    assert len(set(best.choice(Truth(CLEAN), 0.1).tolist())) < 3
    monkeypatch.setattr(oracle_best_basis, "candidate_choices", lambda choice, count: range(count))
    assert torch.equal(best.denoise(NOISY, 0.1, Truth(CLEAN)), expected)


def test_the_jacobian_of_composites_is_the_same_if_all_patches_are_counted(monkeypatch):
    training, image = CLEAN[..., :8, :8].repeat(4, 1, 1, 1) + torch.linspace(0, 1, 12)[:, None, None, None], NOISY[0]
    arguments = (training, image[:, :8, :8].double(), 0.05, 3)
    expected = _window_sums.composite_jacobian(*arguments)
    monkeypatch.setattr(_window_sums, "candidate_indices", every_number)
    torch.testing.assert_close(_window_sums.composite_jacobian(*arguments), expected, rtol=1e-10, atol=1e-10)


def test_candidates_are_restricted_only_on_the_cpu():
    """Tensors on the device ``meta`` have no values to look at."""
    mask = torch.tensor([[True, False], [False, True]])
    assert candidate_indices(mask).tolist() == [0, 3]
    assert candidate_indices(mask.to("meta")).shape == (4,)
    choice = torch.tensor([2, 0, 2])
    assert list(candidate_choices(choice, 4)) == [0, 2]
    assert list(candidate_choices(choice.to("meta"), 4)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "name",
    [
        "bayes-shrink",
        "sure-shrink",
        "visu-shrink",
        "threshold[bandlet]",
        "threshold[wavelet-packet]",
        "cycle-spin[bayes-shrink]",
        "cycle-spin[sure-shrink,shifts=2]",
        "oracle-best-basis[[sym4,dct,bandlet]]",
    ],
)
def test_no_value_is_read_from_the_device(name):
    """Tensors on the device ``meta`` have no values: reading one raises an error."""
    clean, noisy = CLEAN[..., :31].to("meta"), NOISY[..., :31].to("meta")
    reference = gahbench.create("reference", name)
    assert reference.denoise(noisy, 0.1, Truth(clean)).device.type == "meta"
