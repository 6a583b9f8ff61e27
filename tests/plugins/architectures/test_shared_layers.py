"""Layers that architectures share: the bias-free normalisation, the map of the noise level, and its embedding."""

import pytest
import torch

from gahbench_plugins.architectures.dncnn import Chain
from gahbench_plugins.architectures.layers import BiasFreeNorm, NoiseEmbedding


@pytest.mark.parametrize("bias", [False, True])
def test_features_keep_their_size_through_many_layers_without_normalisation(bias):
    torch.manual_seed(0)
    noise = torch.randn(2, 1, 24, 24)
    with torch.no_grad():
        features = Chain(1, 64, 20, bias=bias, norm=False, blind=True).layers[:-1](noise)
    # He et al. 2015 preserve the expected mean square; zero padding and chance reduce it.
    assert 0.1 < float(features.square().mean()) < 10


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_bias_free_norm_has_the_values_and_derivatives_of_its_formula(layout):
    torch.manual_seed(0)
    norm = BiasFreeNorm(5).double().train()
    norm.gain.data.uniform_(0.5, 2)
    # The mean is not small relative to the deviation.
    features = (torch.randn(3, 5, 6, 7).double() + 0.7).contiguous(memory_format=layout).requires_grad_()

    def formula(features, gain):
        deviation = (features.var(dim=(0, 2, 3), correction=0) + norm.epsilon).sqrt()
        return features * (gain / deviation).view(1, -1, 1, 1)

    upstream = torch.randn(features.shape).double()
    assert torch.allclose(norm(features), formula(features, norm.gain), rtol=1e-12)
    result = torch.autograd.grad(norm(features), (features, norm.gain), upstream)
    expected = torch.autograd.grad(formula(features, norm.gain), (features, norm.gain), upstream)
    for gradient, expected_gradient in zip(result, expected, strict=True):
        assert torch.allclose(gradient, expected_gradient, rtol=1e-10, atol=1e-12)
    # Evaluation uses the running averages, which approach the deviations.
    for _ in range(200):
        norm(features)
    assert torch.allclose(norm.eval()(features), formula(features, norm.gain), atol=1e-4)


def test_bias_free_norm_supports_all_precisions_and_devices_in_training():
    torch.manual_seed(0)
    features = torch.randn(8, 4, 20, 20).bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_()
    norm = BiasFreeNorm(4, momentum=1.0).train()
    out = norm(features)
    out.float().square().sum().backward()
    assert (out.dtype, features.grad.dtype, norm.gain.grad.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    # Deviations are computed in float32.
    assert torch.allclose(norm.running_deviation, features.float().std(dim=(0, 2, 3), correction=0), rtol=1e-5)
    assert torch.allclose(norm(features.double()), norm(features.float()).double(), atol=1e-5)
    assert norm.to("meta")(features.to("meta")).shape == features.shape


def test_the_embedding_distinguishes_levels_by_their_ratio_and_is_finite_without_noise():
    torch.manual_seed(0)
    embedding = NoiseEmbedding(16)
    # The Fourier features have equal norms, and products that depend only on the ratio of the levels.
    seen = []
    embedding.layers.register_forward_hook(lambda module, inputs, result: seen.append(inputs[0]))
    embedding(torch.tensor([0.01, 0.011, 0.1, 0.11, 1.0, 1.1]))
    products = seen[0] @ seen[0].T
    assert products.diagonal() == pytest.approx([16.0] * 6, rel=1e-5)
    for first, second in ((2, 3), (4, 5)):
        assert products[first, second] == pytest.approx(float(products[0, 1]), abs=1e-3)
    assert products[0, 1] < 15.9
    assert products[0, 4] < 12
    levels = torch.tensor([0.0, 1e-9, 1e3], requires_grad=True)
    embedding(levels).sum().backward()
    assert levels.grad.isfinite().all()
