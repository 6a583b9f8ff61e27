"""Networks without convolutions: linear maps, perceptrons and transformers."""

import math

import pytest
import scipy.fft
import torch
from given_networks import build, images, untrained

from gahbench_plugins.architectures._tokens import Patches, TokenAttention
from gahbench_plugins.architectures.dit import DiT
from gahbench_plugins.architectures.linear import Linear
from gahbench_plugins.architectures.mlp import MLP
from gahbench_plugins.architectures.vit import ViT


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


def test_training_finds_the_wiener_filter_of_fields_that_are_not_stationary():
    """The best linear map has error sigma^2 tr K (K + sigma^2)^-1; no other has less."""
    torch.manual_seed(0)
    shape, sigma = (1, 6, 6), 0.5
    mixing = torch.randn(36, 36, dtype=torch.float64)
    covariance = mixing @ mixing.T / 36 * torch.linspace(0.1, 3, 36).sqrt().outer(torch.linspace(0.1, 3, 36).sqrt())
    root = torch.linalg.cholesky(covariance).float()
    spectrum = torch.linalg.eigvalsh(covariance)
    optimum = float((sigma**2 * spectrum / (spectrum + sigma**2)).mean())
    network = Linear(shape).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1500)
    for _ in range(1500):
        clean = (torch.randn(128, 36) @ root.T).view(-1, *shape)
        loss = (network(clean + sigma * torch.randn_like(clean), torch.ones(128)) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    # The risk of the map itself: bias (I - A) K (I - A)^T and variance sigma^2 A A^T.
    with torch.no_grad():
        image = network(torch.eye(36).view(36, *shape), torch.ones(36)).view(36, 36).T.double()
    left = torch.eye(36, dtype=torch.float64) - image
    risk = float((left @ covariance @ left.T).trace() + sigma**2 * image.square().sum()) / 36
    assert optimum < risk < 1.05 * optimum


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


def test_every_pixel_depends_on_every_other():
    network = build(MLP, (3, 4, 5), width=64)
    noisy, level = images(1, (3, 4, 5)), torch.ones(1)
    jacobian = torch.autograd.functional.jacobian(lambda image: network(image, level), noisy).reshape(60, 60)
    assert (jacobian != 0).all()


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


def test_a_black_image_stays_black_and_has_a_gradient_without_bias():
    network = build(MLP, (1, 4, 4), width=16, bias=False)
    black = torch.zeros(1, 1, 4, 4, requires_grad=True)
    denoised = network(black, torch.ones(1))
    assert torch.equal(denoised, torch.zeros_like(denoised))
    denoised.sum().backward()
    assert black.grad.isfinite().all()


def test_the_narrowest_network_denoises_images_that_it_can_represent():
    """A constant image of unknown brightness is described by a single number."""
    torch.manual_seed(0)
    network = MLP((1, 8, 8), width=16).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(400):
        clean = torch.rand(64, 1, 1, 1).expand(64, 1, 8, 8)
        loss = (network(clean + torch.randn(64, 1, 8, 8), torch.ones(64)) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # The mean alone has error 1/64, the prior alone 1/12.
    assert loss.item() == pytest.approx(1 / 64, abs=1 / 64)


SMALL = {"width": 16, "depth": 2, "heads": 2}


def test_identity_maps_of_patches_return_the_image():
    """With tokens that contain the pixels of their patches, embedding and restoring are inverse maps."""
    patches = Patches("vit", (3, 8, 12), patch=2, width=12, positions="sincos")
    with torch.no_grad():
        patches.embed.weight.copy_(torch.eye(12).view(12, 3, 2, 2))
        patches.embed.bias.zero_()
        patches.restore.weight.copy_(torch.eye(12))
        patches.position_embedding.zero_()
    given = images(2, (3, 8, 12))
    assert torch.equal(patches.images(patches.tokens(given)), given)


def test_embeddings_of_positions_differ():
    for positions in ("sincos", "learned"):
        embedding = Patches("vit", (1, 16, 24), patch=4, width=16, positions=positions).position_embedding[0]
        distances = torch.cdist(embedding, embedding) + 10 * torch.eye(len(embedding))
        assert distances.min() > 1e-3


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
