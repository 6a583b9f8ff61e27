"""What bases keep for all calls is made for derivatives, whoever asks first."""

import pytest
import torch

import gahbench
from gahbench.contracts.truth import Truth
from gahbench_plugins._tensors import kept_tensors


def test_results_are_kept_and_are_no_tensors_of_inference():
    made = []

    @kept_tensors(2)
    def zeros(size):
        """Return zeros."""
        made.append(size)
        return torch.zeros(size)

    with torch.inference_mode():
        assert not zeros(3).is_inference()
    assert zeros(3) is zeros(3)
    zeros(4), zeros(5), zeros(3)
    assert made == [3, 4, 5, 3]
    assert (zeros.__name__, zeros.__doc__) == ("zeros", "Return zeros.")


@pytest.mark.parametrize("basis", ["dct", "sym4", "wavelet-ti[haar]", "wavelet-packet", "curvelet", "bandlet"])
def test_a_basis_that_was_first_used_for_inference_has_derivatives(basis):
    # A size that no other test uses.
    found = gahbench.create("basis", basis)
    clean = torch.rand(1, 1, 40, 24, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found.adapt_to(Truth(clean.clone()), 0.1).analysis(clean.clone())
    images = clean.clone().requires_grad_()
    adapted = found.adapt_to(Truth(clean), 0.1)
    adapted.synthesis(adapted.analysis(images)).square().sum().backward()
    torch.testing.assert_close(images.grad, 2 * clean, atol=1e-4, rtol=0)
