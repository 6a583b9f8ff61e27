"""The normalisation without constants of Mohan et al. 2020."""

import pytest
import torch

from gahbench_plugins.architectures._bias_free import BiasFreeNorm


def test_it_divides_by_the_deviation_and_keeps_the_mean():
    generator = torch.Generator().manual_seed(0)
    features = 3 * torch.randn(64, 2, 16, 16, generator=generator) + 5
    norm = BiasFreeNorm(2)
    out = norm.train()(features)
    assert torch.allclose(out.std(dim=(0, 2, 3), correction=0), torch.ones(2), atol=1e-4)
    deviation = features.std(dim=(0, 2, 3), correction=0)
    assert torch.allclose(out.mean(dim=(0, 2, 3)), features.mean(dim=(0, 2, 3)) / deviation, atol=1e-4)
    for _ in range(200):
        norm(features)
    assert torch.allclose(norm.running_deviation, deviation, atol=1e-4)
    assert torch.allclose(norm.eval()(features), out, atol=1e-3)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_has_the_derivative_of_its_formula(layout):
    torch.manual_seed(0)
    norm = BiasFreeNorm(5).double().train()
    norm.gain.data.uniform_(0.5, 2)
    # A mean that is not small beside the deviation.
    features = (torch.randn(3, 5, 6, 7).double() + 0.7).contiguous(memory_format=layout).requires_grad_()

    def formula(features, gain):
        deviation = (features.var(dim=(0, 2, 3), correction=0) + norm.epsilon).sqrt()
        return features * (gain / deviation).view(1, -1, 1, 1)

    upstream = torch.randn(features.shape).double()
    assert torch.allclose(norm(features), formula(features, norm.gain), rtol=1e-12)
    found = torch.autograd.grad(norm(features), (features, norm.gain), upstream)
    expected = torch.autograd.grad(formula(features, norm.gain), (features, norm.gain), upstream)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(norm, (features,))
    small = features.detach()[:, :, :2, :2].clone().requires_grad_()
    assert torch.autograd.gradgradcheck(norm, (small,))


def test_it_in_training_takes_any_precision_and_device():
    torch.manual_seed(0)
    norm, features = BiasFreeNorm(3).train(), torch.randn(4, 3, 5, 5)
    assert torch.allclose(norm(features.double()), norm(features).double(), atol=1e-5)
    assert norm.to("meta")(features.to("meta")).shape == features.shape


def test_it_finds_the_deviation_of_bfloat16_features_in_float32():
    torch.manual_seed(0)
    features = torch.randn(8, 4, 20, 20).bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_()
    norm = BiasFreeNorm(4, momentum=1.0).train()
    out = norm(features)
    out.float().square().sum().backward()
    assert (out.dtype, features.grad.dtype, norm.gain.grad.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    assert torch.allclose(norm.running_deviation, features.float().std(dim=(0, 2, 3), correction=0), rtol=1e-5)
