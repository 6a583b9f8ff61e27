"""Metrics of the Jacobian: its spectrum, and what it gains by following the image."""

import math

import pytest
import torch
from known_filters import Filters, evaluation, on_images, random_images, table

from gahbench.contracts.references import Reference
from gahbench.jacobian import DenseMaps, FunctionMaps

SIZE = 36


def turned(eigenvalues, seed=0):
    """A symmetric matrix of given eigenvalues."""
    draw = torch.randn(len(eigenvalues), len(eigenvalues), generator=torch.Generator().manual_seed(seed)).double()
    vectors = torch.linalg.qr(draw)[0]
    return (vectors * torch.as_tensor(eigenvalues, dtype=torch.float64)) @ vectors.mT


def rotation():
    """A quarter turn in each of 18 planes: antisymmetric and orthogonal."""
    return torch.kron(torch.eye(SIZE // 2), torch.tensor([[0.0, -1.0], [1.0, 0.0]])).double()


def only(parts, sigma=0.1):
    return {part: values for (part, level), values in parts.items() if level == sigma}


def test_a_projection_keeps_as_many_dimensions_as_its_rank():
    for share, rank in ((0.2, 51), (0.01, 3), (1.0, 256)):
        parts = only(table("spectrum", evaluation(f"low-pass[{share}]", count=3)))
        expected = {"trace": rank, "above-half": rank, "largest": 1, "smallest": int(rank == 256)}
        expected |= {"negative": 0, "asymmetry": 0, "homogeneity": 0}
        assert set(parts) == set(expected)
        for part, value in expected.items():
            assert parts[part].tolist() == pytest.approx([value] * 3, abs=1e-4), part


def test_parts_are_those_of_the_eigenvalues():
    eigenvalues = [1.4, 0.6, 0.51, 0.49, 0.2, *[0.0] * 29, -0.1, -0.3]
    parts = only(table("spectrum", on_images(Filters(turned(eigenvalues)[None]), random_images(3, 1, 6, 6))))
    expected = {"trace": 2.8, "above-half": 3, "largest": 1.4, "smallest": -0.3, "negative": 0.4 / 3.2, "asymmetry": 0}
    for part, value in expected.items():
        assert parts[part].tolist() == pytest.approx([value] * 3, abs=1e-6), part


@pytest.mark.parametrize(("symmetric", "skew"), [(1.0, 0.0), (0.8, 0.6), (0.3, 0.1), (0.0, 1.0)])
def test_asymmetry_is_the_share_of_the_skew_part(symmetric, skew):
    """Of a + b R, R a quarter turn, J - J' is 2 b R, and |J| is that of sqrt(a^2 + b^2)."""
    matrix = symmetric * torch.eye(SIZE).double() + skew * rotation()
    parts = only(table("spectrum", on_images(Filters(matrix[None]), random_images(3, 1, 6, 6))))
    assert parts["asymmetry"].tolist() == pytest.approx([2 * skew / math.hypot(symmetric, skew)] * 3, abs=1e-6)
    # The skew part has no eigenvalues of the symmetric one.
    for part in ("largest", "smallest"):
        assert parts[part].tolist() == pytest.approx([symmetric] * 3, abs=1e-6)
    assert parts["trace"].tolist() == pytest.approx([SIZE * symmetric] * 3, abs=1e-5)


def test_homogeneity_is_what_constants_add():
    matrix, offset = turned([0.5] * SIZE), 0.25
    evaluated = on_images(Filters(matrix[None], offset), random_images(3, 1, 6, 6), (0.1, 0.4))
    parts = table("spectrum", evaluated)
    for sigma in (0.1, 0.4):
        denoised = 0.5 * evaluated.noisy(sigma).double() + offset
        expected = (offset * SIZE**0.5 / denoised.flatten(1).norm(dim=1)).tolist()
        assert parts["homogeneity", sigma].tolist() == pytest.approx(expected, rel=1e-5)
        assert min(expected) > 0.1


def test_bias_free_networks_are_homogeneous_and_others_are_not():
    for bias in (False, True):
        name = f"untrained[bf-cnn[width=4,layers=4,bias={str(bias).lower()}]]"
        found = only(table("spectrum", evaluation(name, "c-alpha[size=8]", count=3)))["homogeneity"]
        assert (found < 1e-5).all() == (not bias)


def test_that_of_the_genie_could_be_optimal_and_that_of_a_threshold_is_whole():
    genie = only(table("spectrum", evaluation("lower-bound", "c-alpha[size=8]", count=3)))
    assert genie["asymmetry"].max() < 1e-5
    assert genie["smallest"].min() > -1e-5
    assert genie["largest"].max() < 1
    assert genie["trace"].min() > genie["largest"].max()
    # Filters are affine about grey 1/2: J y is not f(y).
    assert genie["homogeneity"].min() > 0.001
    hard = only(table("spectrum", evaluation("threshold[haar]", count=3)))
    torch.testing.assert_close(hard["trace"], hard["above-half"], atol=1e-4, rtol=0)
    assert hard["homogeneity"].max() < 1e-5


def test_on_large_images_it_is_estimated_and_what_needs_all_eigenvalues_is_left_out(monkeypatch):
    eigenvalues = [1.4, 1.0, 0.51, 0.49, 0.2, *[0.1] * 29, -0.1, -0.3]
    matrix = turned(eigenvalues) + 0.2 * rotation()
    evaluated = on_images(Filters(matrix[None].expand(3, -1, -1), 0.1), random_images(3, 1, 6, 6))
    exact = only(table("spectrum", evaluated))
    monkeypatch.setattr("gahbench.jacobian.maps.LARGEST_EXACT", SIZE - 1)
    found = only(table("spectrum", on_images(Filters(matrix[None].expand(3, -1, -1), 0.1), random_images(3, 1, 6, 6))))
    assert set(exact) - set(found) == {"above-half", "negative"}
    for part in ("largest", "smallest"):
        torch.testing.assert_close(found[part], exact[part], atol=2e-3, rtol=0)
    torch.testing.assert_close(found["homogeneity"], exact["homogeneity"])
    # Random signs: the error of a trace is that of what is off the diagonal, 64 times over.
    off = (matrix + matrix.mT) / 2
    off = off - off.diagonal().diag()
    error = float((2 * off.square().sum() / 64).sqrt())
    assert ((found["trace"] - sum(eigenvalues)).abs() < 4 * error).all()
    torch.testing.assert_close(found["asymmetry"], exact["asymmetry"], atol=0, rtol=0.15)


def test_jacobians_that_are_not_finite_are_refused():
    matrices = torch.eye(SIZE).repeat(3, 1, 1)
    matrices[1, 2, 3] = torch.nan
    with pytest.raises(ValueError, match=r"not finite, at sigma=0\.1"):
        table("spectrum", on_images(Filters(matrices), random_images(3, 1, 6, 6)))


def psnr(denoised, clean):
    return -10 * math.log10(float((denoised.double() - clean.double()).square().mean()))


@pytest.mark.parametrize("name", ["low-pass", "gaussian-blur", "wiener-linear", "identity", "untrained[linear]"])
def test_linear_denoisers_gain_nothing(name):
    parts = table("adaptation", evaluation(name, "c-alpha[size=8]", (0.05, 0.3)))
    assert set(parts) == {(part, sigma) for part in ("", "gain", "sensitivity") for sigma in (0.05, 0.3)}
    assert all(values.abs().max() < 1e-3 for values in parts.values())


class Products(Reference):
    """The half square of every pixel, whose filter multiplies by the noisy image."""

    def denoise(self, noisy, sigma, truth):
        return noisy.square() / 2

    def jacobian(self, noisy, sigma, truth):
        rows = noisy.flatten(1)[:, None]
        return FunctionMaps(
            lambda vectors, places: vectors * rows[list(places)], len(noisy), tuple(noisy.shape[1:]), noisy
        )


@pytest.mark.parametrize("size", [2304, 10])
def test_it_is_the_gain_over_the_filters_of_others_less_the_sensitivity_to_noise(monkeypatch, size):
    """By hand, for filters that follow image and noise; of four images, three others are all others."""
    monkeypatch.setattr("gahbench.jacobian.maps.LARGEST_EXACT", size)
    clean = random_images(4, 2, 4, 3)
    evaluated = on_images(Products(), clean)
    parts = table("adaptation", evaluated)
    noisy, fresh = evaluated.noisy(0.1), evaluated.noisy(0.1, draw=1)
    assert not torch.equal(noisy, fresh)
    for place in range(4):
        own = psnr(noisy[place] ** 2, clean[place])
        again = psnr(fresh[place] * noisy[place], clean[place])
        others = [psnr(noisy[other] * noisy[place], clean[place]) for other in range(4) if other != place]
        mean = sum(others) / 3
        assert parts["gain", 0.1][place].item() == pytest.approx(own - mean, abs=1e-4)
        assert parts["sensitivity", 0.1][place].item() == pytest.approx(own - again, abs=1e-4)
        assert parts["", 0.1][place].item() == pytest.approx(again - mean, abs=1e-4)


def test_the_genie_gains_and_is_not_sensitive_to_noise():
    parts = table("adaptation", evaluation("lower-bound", "c-alpha[size=12]", (0.05,)))
    assert parts["", 0.05].mean() > 2
    assert parts["sensitivity", 0.05].abs().max() < 1e-3
    torch.testing.assert_close(parts["", 0.05], parts["gain", 0.05], atol=1e-3, rtol=0)


def test_a_filter_that_follows_the_noise_alone_gains_nothing_after_its_sensitivity():
    class Follower(Filters):
        """Projects on the noisy image: all of it is kept, none of it under another's filter or under fresh noise."""

        def jacobian(self, noisy, sigma, truth):
            unit = noisy.flatten(1) / noisy.flatten(1).norm(dim=1, keepdim=True)
            return DenseMaps(unit[:, :, None] * unit[:, None], tuple(noisy.shape[1:]))

    # Faint images under strong noise: the filter is made of noise.
    parts = table("adaptation", on_images(Follower(torch.eye(256)[None]), 1e-3 * random_images(6, 1, 16, 16), (1.0,)))
    assert parts["sensitivity", 1.0].abs().min() > 3
    # Both gains are those of a filter by unrelated noise: they differ by chance, as much as projections on it do.
    spread = parts["", 1.0].std() / 6**0.5
    assert parts["", 1.0].mean().abs() < 4 * spread
