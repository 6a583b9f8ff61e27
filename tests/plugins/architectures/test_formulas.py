"""Formulas of shared layers and of single architectures: conditional UNets, linear maps, perceptrons, transformers."""

import math

import pytest
import scipy.fft
import torch
from given_networks import build, images, untrained

from gahbench_plugins.architectures.dncnn import Chain
from gahbench_plugins.architectures.layers import BiasFreeNorm, NoiseEmbedding
from gahbench_plugins.architectures.unet_conditional import UNetConditional
from gahbench_plugins.architectures.vit import DiT, TokenAttention, ViT
from gahbench_plugins.architectures.whole_image import MLP, Linear


def test_the_layers_estimate_the_noise_over_sigma():
    """Without noise the image is unchanged; with a constant embedding the removed noise is proportional to sigma."""
    network = build(UNetConditional, (3, 16, 16), width=4)
    noisy = images(2, (3, 16, 16))
    with torch.no_grad():
        assert torch.equal(network(noisy, torch.zeros(2)), noisy)
        for parameter in network.embedding.parameters():
            parameter.zero_()
        once, twice = (noisy - network(noisy, torch.full((2,), level)) for level in (0.1, 0.2))
    assert float(once.norm()) > 0
    assert torch.allclose(twice, 2 * once, atol=1e-5)


def test_preconditioned_layers_are_given_unit_variance_and_estimate_it(monkeypatch):
    """On white images of standard deviation s around 1/2 the linear estimate is optimal, so the layers estimate 0."""
    spread, generator = 0.2, torch.Generator().manual_seed(0)
    clean = 0.5 + spread * torch.randn(4, 1, 64, 64, generator=generator)
    network = build(UNetConditional, (1, 64, 64), width=4, sigma_data=spread)
    for level in (0.01, 0.2, 5.0):
        sigma = torch.full((4,), level)
        noisy = clean + level * torch.randn(clean.shape, generator=generator)
        monkeypatch.setattr(network, "_layers", lambda images, _: torch.zeros_like(images))
        linear = network(noisy, sigma)
        monkeypatch.setattr(network, "_layers", lambda images, _: images)
        scale = level * spread / (spread**2 + level**2) ** 0.5
        assert ((network(noisy, sigma) - linear) / scale).std() == pytest.approx(1, abs=0.03)
        best = 0.5 + spread**2 / (spread**2 + level**2) * (noisy - 0.5)
        torch.testing.assert_close(linear, best)
        monkeypatch.setattr(network, "_layers", lambda images, _: torch.ones_like(images))
        unit = network(noisy, sigma) - linear
        # The target of the layers has unit variance.
        assert ((clean - linear) / unit).std() == pytest.approx(1, abs=0.03)
        assert ((clean - linear) / unit).mean() == pytest.approx(0, abs=0.03)


def test_linear_removes_a_matrix_between_dct_coefficients():
    network = build(Linear, (1, 4, 6))
    noisy = images(2, (1, 4, 6))
    coefficients = scipy.fft.dctn(noisy.double().numpy(), axes=(2, 3), norm="ortho").reshape(2, 24)
    diagonal = 10 * network.shrinkage.detach().double().numpy().ravel()
    matrix = network.mixing.detach().double().numpy() / math.sqrt(24)
    removed = (coefficients * diagonal + coefficients @ matrix.T).reshape(2, 1, 4, 6)
    expected = noisy.double() - torch.from_numpy(scipy.fft.idctn(removed, axes=(2, 3), norm="ortho"))
    with torch.no_grad():
        assert torch.allclose(network(noisy, torch.ones(2)).double(), expected, atol=1e-4)


def test_a_plain_matrix_learns_components_at_the_rates_of_gradient_descent():
    """Each gain is the target times 1 - (1 - 2 rate (variance + sigma^2) / d)^steps for the mean error per pixel."""
    torch.manual_seed(0)
    shape, pixels, sigma, rate, steps = (1, 3, 4), 12, 0.3, 0.2, 40
    variances = torch.logspace(1, -2, pixels)
    components = torch.linalg.qr(torch.randn(pixels, pixels))[0]
    # Combine all images and all noise vectors, with both signs: second moments are exact, and correlations are zero.
    signals = torch.cat([sign * components.T * (pixels * variances).sqrt()[:, None] for sign in (1, -1)])
    noises = torch.cat([sign * math.sqrt(pixels) * sigma * torch.eye(pixels) for sign in (1, -1)])
    clean = signals.repeat_interleave(len(noises), 0).view(-1, *shape)
    noisy = clean + noises.repeat(len(signals), 1).view(-1, *shape)
    network = Linear(shape, residual=False).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        (network(noisy, torch.ones(len(noisy))) - clean).square().mean().backward()
        optimizer.step()
    targets = variances / (variances + sigma**2)
    expected = targets * (1 - (1 - 2 * rate * (variances + sigma**2) / pixels) ** steps)
    with torch.no_grad():
        learned = network(torch.eye(pixels).view(pixels, *shape), torch.ones(pixels)).view(pixels, pixels).T
    assert torch.allclose(components.T @ learned @ components, torch.diag(expected), atol=1e-4)


def test_the_result_is_a_fraction_of_the_noisy_image_plus_an_image():
    network = build(MLP, (1, 6, 6), width=32)
    with torch.no_grad():
        network.image.weight.zero_()
        network.image.bias.zero_()
        noisy = images(16, (1, 6, 6))
        shares = network(noisy, torch.ones(16)) / noisy
        assert torch.allclose(shares, shares.mean((1, 2, 3), keepdim=True).expand_as(shares), atol=1e-5)
        assert (shares > 0).all()
        assert (shares < 1).all()
        assert float(shares.std()) > 0


SMALL = {"width": 16, "depth": 2, "heads": 2}


@pytest.mark.parametrize(("grid", "shifted"), [((8, 8), False), ((8, 8), True), ((4, 12), True)])
def test_windows_equal_masked_global_attention(grid, shifted):
    torch.manual_seed(0)
    width, heads, window = 12, 3, 4
    local = TokenAttention(width, heads, grid, window, shifted).eval()
    torch.nn.init.zeros_(local.inner.relative_position_bias_table)
    tokens = torch.randn(2, grid[0] * grid[1], width)
    query, key, value = local.inner.qkv(tokens).view(2, -1, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    # A window is not shifted along a side that it covers.
    starts = [window // 2 if shifted and side > window else 0 for side in grid]
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    label = 100 * ((rows - starts[0]) // window) + (columns - starts[1]) // window
    together = label.flatten()[:, None] == label.flatten()[None, :]
    scores = (query @ key.transpose(-2, -1)) / (width // heads) ** 0.5
    attended = scores.masked_fill(~together, float("-inf")).softmax(-1) @ value
    expected = local.inner.proj(attended.transpose(1, 2).flatten(2))
    assert torch.allclose(local(tokens), expected, atol=1e-6)


def test_training_and_evaluation_kernels_agree():
    network = build(ViT, (1, 16, 16), **SMALL)
    noisy, sigma = images(2, (1, 16, 16)), torch.full((2,), 0.1)
    trained, evaluated = network.train()(noisy, sigma), network.eval()(noisy, sigma)
    assert (trained - evaluated).norm() < 1e-5 * evaluated.norm()


NOISY = images(2, (1, 16, 16))


@pytest.mark.parametrize("levels", [(0.0, 0.0), (0.1, 0.4), (0.05, 2.0)])
def test_the_residual_is_the_noise_level_times_an_estimate_of_unit_noise(monkeypatch, levels):
    """With a constant embedding the estimate is equal at all levels, and the residual proportional to sigma."""
    network, sigma = build(DiT, (1, 16, 16), **SMALL), torch.tensor(levels)
    with torch.no_grad():
        denoised = network(NOISY, sigma)
        alone = [network(NOISY[index : index + 1], sigma[index : index + 1]) for index in range(2)]
        torch.testing.assert_close(denoised, torch.cat(alone), atol=1e-5, rtol=1e-5)
        monkeypatch.setattr(network.level, "forward", lambda sigma: torch.ones(len(sigma), 16))
        estimate = NOISY - network(NOISY, torch.ones(2))
        assert estimate.norm() > 0
        torch.testing.assert_close(network(NOISY, sigma), NOISY - sigma.view(2, 1, 1, 1) * estimate)
    assert torch.equal(denoised, NOISY) == (not any(levels))


def test_blocks_start_as_the_identity():
    """With closed gates tokens are independent, so a pixel depends only on its own patch."""
    network = untrained(DiT, (1, 16, 16), **SMALL)
    noisy = NOISY[:1].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(noisy, torch.full((1,), 0.5))[0, 0, 9, 9], noisy)
    reached = gradient[0, 0] != 0
    assert reached[8:12, 8:12].any()
    reached[8:12, 8:12] = False
    assert not reached.any()


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
