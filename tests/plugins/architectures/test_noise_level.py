import pytest
import torch

from gahbench_plugins.architectures._inputs import NoiseEmbedding, with_noise_level


def test_the_map_is_a_further_channel_that_holds_each_images_level():
    noisy = torch.rand(3, 2, 4, 5)
    found = with_noise_level(noisy, torch.tensor([0.1, 0.2, 0.3]))
    assert found.shape == (3, 3, 4, 5)
    assert torch.equal(found[:, :2], noisy)
    assert torch.equal(found[:, 2].amin((1, 2)), torch.tensor([0.1, 0.2, 0.3]))
    assert torch.equal(found[:, 2].amax((1, 2)), torch.tensor([0.1, 0.2, 0.3]))


def test_the_map_has_the_type_of_the_images():
    assert with_noise_level(torch.rand(1, 1, 2, 2).double(), torch.tensor([0.5])).dtype == torch.float64
    assert with_noise_level(torch.rand(1, 1, 2, 2).bfloat16(), torch.tensor([0.5])).dtype == torch.bfloat16


def test_the_embedding_distinguishes_levels_by_their_ratio():
    torch.manual_seed(0)
    embedding = NoiseEmbedding(16)
    # What goes into the layers: features of equal norm, whose products depend on the ratio of the levels alone.
    seen = []
    embedding.layers.register_forward_hook(lambda module, inputs, result: seen.append(inputs[0]))
    levels = torch.tensor([0.01, 0.011, 0.1, 0.11, 1.0, 1.1])
    embedding(levels)
    products = seen[0] @ seen[0].T
    assert products.diagonal() == pytest.approx([16.0] * 6, rel=1e-5)
    for first, second in ((2, 3), (4, 5)):
        assert products[first, second] == pytest.approx(float(products[0, 1]), abs=1e-3)
    assert products[0, 1] < 15.9
    assert products[0, 4] < 12


def test_the_embedding_is_finite_without_noise():
    levels = torch.tensor([0.0, 1e-9, 1e3], requires_grad=True)
    vector = NoiseEmbedding(8)(levels)
    vector.sum().backward()
    assert vector.isfinite().all()
    assert levels.grad.isfinite().all()
