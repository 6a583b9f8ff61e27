import pytest
import torch
from constructing import construct

from gahbench.contracts.bases import Basis
from gahbench.contracts.truth import Truth
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.oracle import OracleShrink, OracleThreshold

ORACLES = pytest.mark.parametrize("oracle", [OracleThreshold, OracleShrink])
CLEAN = CAlpha(2.0, 16).images("test", 4)


def test_closed_forms_on_a_known_image():
    clean = torch.tensor([[[[0.0, 0.1], [0.3, 1.0]]]])
    threshold, shrink = construct(OracleThreshold, "pixel"), construct(OracleShrink, "pixel")
    assert threshold.risk(Truth(clean), 0.2).item() == pytest.approx((0 + 0.01 + 0.04 + 0.04) / 4)
    terms = [0, 0.04 * 0.01 / 0.05, 0.04 * 0.09 / 0.13, 0.04 * 1 / 1.04]
    assert shrink.risk(Truth(clean), 0.2).item() == pytest.approx(sum(terms) / 4)
    noisy = torch.full((1, 1, 2, 2), 0.5)
    assert threshold.denoise(noisy, 0.2, Truth(clean)).flatten().tolist() == [0, 0, 0.5, 0.5]
    weights = [0, 0.01 / 0.05, 0.09 / 0.13, 1 / 1.04]
    assert shrink.denoise(noisy, 0.2, Truth(clean)).flatten().tolist() == pytest.approx([0.5 * w for w in weights])


@pytest.mark.parametrize("sigma", [1e-3, 0.02, 0.1, 1.0])
def test_thresholding_is_within_a_factor_two_of_shrinkage(sigma):
    threshold, shrink = (
        construct(OracleThreshold).risk(Truth(CLEAN), sigma),
        construct(OracleShrink).risk(Truth(CLEAN), sigma),
    )
    assert (shrink <= threshold).all()
    assert (threshold <= 2 * shrink).all()
    assert (threshold <= sigma**2).all()


@ORACLES
def test_limits(oracle):
    reference = construct(oracle, "sym4")
    for sigma in (0.0, 1e-9):
        torch.testing.assert_close(reference.denoise(CLEAN, sigma, Truth(CLEAN)), CLEAN, atol=1e-5, rtol=0)
    assert reference.risk(Truth(CLEAN), 0.0).tolist() == [0] * 4
    # Without noise to speak of, nothing can be shrunk; drowned in it, all is lost but the energy.
    generic = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        reference.risk(Truth(generic), 1e-7), torch.full((2,), 1e-14).double(), rtol=1e-2, atol=0
    )
    energy = CLEAN.double().square().flatten(1).mean(1)
    torch.testing.assert_close(reference.risk(Truth(CLEAN), 1e6), energy, rtol=1e-6, atol=0)


@ORACLES
def test_without_orthonormality_noise_has_its_own_levels_and_no_closed_form(oracle):
    reference = construct(oracle, "wavelet[bior2.2,levels=2]")
    noisy = CLEAN + 0.1
    assert reference.risk(Truth(CLEAN), 0.1) is None
    clean = reference.basis.analysis(CLEAN)
    levels = 0.1 * reference.basis.noise_levels((1, 16, 16)).float()
    kept = clean.abs() > levels if oracle is OracleThreshold else clean**2 / (clean**2 + levels**2)
    expected = reference.basis.synthesis(reference.basis.analysis(noisy) * kept)
    torch.testing.assert_close(reference.denoise(noisy, 0.1, Truth(CLEAN)), expected)


class Turned(Basis):
    """For each image the pixels, or their signs turned: adapted to whether the image is bright."""

    adaptive = True

    def __init__(self, signs=None):
        self.signs = signs

    def max_batch(self, shape):
        return 3

    def adapt(self, images, threshold, noisy=False):
        assert len(images) <= 3
        return Turned(torch.where(images.mean((1, 2, 3), keepdim=True) > 0.5, -1.0, 1.0))

    def analysis(self, images):
        return images * self.signs

    synthesis = analysis


@ORACLES
def test_a_basis_is_adapted_to_the_clean_images_in_batches_that_it_can_take(oracle):
    clean = torch.rand(7, 1, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    noisy = clean + 0.2 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    turned, plain = construct(oracle, "pixel"), construct(oracle, "pixel")
    turned.basis = Turned()
    torch.testing.assert_close(turned.denoise(noisy, 0.2, Truth(clean)), plain.denoise(noisy, 0.2, Truth(clean)))
    torch.testing.assert_close(turned.risk(Truth(clean), 0.2), plain.risk(Truth(clean), 0.2))
