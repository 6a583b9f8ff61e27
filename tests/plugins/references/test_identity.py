import pytest
import torch

from gahbench.contracts.truth import Truth
from gahbench_plugins.references.identity import Identity


def test_identity_returns_the_noisy_image_with_risk_sigma_squared():
    clean = torch.rand(3, 1, 4, 4)
    noisy = clean + 0.1
    assert torch.equal(Identity().denoise(noisy, 0.1, Truth(clean)), noisy)
    assert Identity().risk(Truth(clean), 0.1).tolist() == pytest.approx([0.01] * 3)
