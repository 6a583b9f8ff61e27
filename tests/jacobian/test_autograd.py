import numpy as np
import pytest
import torch
from random_images import normal as random
from torch import nn

import gahbench
from gahbench.contracts.truth import Truth
from gahbench.jacobian import AutogradMaps, Jacobian, autograd
from gahbench.jacobian.autograd import autograd_jacobians


class Linear(nn.Module):
    """A network that multiplies images by a matrix and by sigma."""

    def __init__(self, matrix):
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.sizes = []

    def forward(self, noisy, sigma):
        self.sizes.append(len(noisy))
        return (noisy.flatten(1) @ self.matrix.mT).view_as(noisy) * sigma[:, None, None, None]


class Wave(torch.autograd.Function):
    """A sine that does not support forward-mode differentiation."""

    @staticmethod
    def forward(ctx, values):
        ctx.save_for_backward(values)
        return values.sin()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0].cos()


class Convolutional(nn.Module):
    """Two convolutions with an activation between them; the noise level is an input unless the network is blind."""

    def __init__(self, channels=1, activation=torch.tanh, blind=True, dtype=torch.float64):
        super().__init__()
        self.blind, self.activation = blind, activation
        self.first = nn.Conv2d(channels + (not blind), 5, 3, padding=1, dtype=dtype)
        self.last = nn.Conv2d(5, channels, 3, padding=1, dtype=dtype)
        with torch.no_grad():
            for index, parameter in enumerate(self.parameters()):
                parameter.copy_(0.5 * random(*parameter.shape, seed=index))
        self.eval()

    def forward(self, noisy, sigma):
        level = sigma[:, None, None, None].expand(-1, 1, *noisy.shape[2:])
        inputs = noisy if self.blind else torch.cat([noisy, 10 * level], dim=1)
        return noisy - self.last(self.activation(self.first(inputs)))


def jacobian_by_rows(network, noisy, sigma):
    """Return the Jacobian of each image, computed row by row with backward passes."""
    jacobians = []
    for image, level in zip(noisy, torch.as_tensor(sigma, dtype=noisy.dtype).expand(len(noisy)), strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda image, level=level: network(image[None], level[None])[0], image
        )
        jacobians.append(jacobian.reshape(image.numel(), image.numel()))
    return torch.stack(jacobians)


@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 3, 4)])
def test_the_jacobian_of_a_linear_network_is_its_matrix(shape):
    size = torch.Size(shape).numel()
    matrix, noisy = random(size, size), random(3, *shape, seed=1)
    levels = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    expected = levels[:, None, None] * matrix
    jacobian = Jacobian(Linear(matrix).eval(), noisy, levels)
    assert (len(jacobian), jacobian.size, jacobian.shape) == (3, size, shape)
    torch.testing.assert_close(jacobian.matrices(), expected)
    own, shared = random(3, 7, size, seed=2), random(1, 4, size, seed=3)
    for vectors in (own, shared):
        torch.testing.assert_close(jacobian.matvec(vectors), vectors @ expected.mT)
        torch.testing.assert_close(jacobian.rmatvec(vectors), vectors @ expected)
    torch.testing.assert_close(jacobian.symmetric_product(own), own @ (expected + expected.mT) / 2)
    torch.testing.assert_close(jacobian.select(2).matrices(), expected[2:])
    torch.testing.assert_close(jacobian.select(2).matvec(own[2:]), own[2:] @ expected[2].mT)
    torch.testing.assert_close(jacobian.trace().value, levels * matrix.trace())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("blind", [True, False])
def test_products_of_a_smooth_network_agree_with_finite_differences(channels, blind):
    network, noisy = Convolutional(channels, blind=blind), random(2, channels, 6, 5, seed=9)
    levels = torch.tensor([0.1, 0.4], dtype=torch.float64)
    jacobian = Jacobian(network, noisy, levels)
    vectors, step = random(2, 3, channels * 30, seed=5), 1e-5
    products = jacobian.matvec(vectors)
    with torch.no_grad():
        for index in range(3):
            shift = step * vectors[:, index].view_as(noisy)
            differences = (network(noisy + shift, levels) - network(noisy - shift, levels)) / (2 * step)
            torch.testing.assert_close(products[:, index], differences.flatten(1), atol=1e-8, rtol=1e-7)
    # Check that u'(J v) = v'(J'u).
    others = random(2, 3, channels * 30, seed=6)
    torch.testing.assert_close((others * products).sum(2), (jacobian.rmatvec(others) * vectors).sum(2))


@pytest.mark.parametrize("activation", [torch.tanh, Wave.apply])
def test_incomplete_batches_give_the_same_results(monkeypatch, activation):
    network, noisy, vectors = Convolutional(activation=activation), random(2, 1, 5, 6), random(2, 11, 30, seed=1)
    expected = jacobian_by_rows(network, noisy, 0.1)
    monkeypatch.setattr(autograd, "BATCH_VALUES", 7 * 30)
    jacobian = Jacobian(network, noisy, 0.1)
    torch.testing.assert_close(jacobian.matrices(), expected)
    torch.testing.assert_close(jacobian.rmatvec(vectors), vectors @ expected)
    torch.testing.assert_close(jacobian.matvec(vectors), vectors @ expected.mT)
    unrepeatable = AutogradMaps(lambda images, first: network(images, torch.full((1,), 0.1)), noisy, repeatable=False)
    torch.testing.assert_close(unrepeatable.matrices(), expected)
    torch.testing.assert_close(unrepeatable.matvec(vectors), vectors @ expected.mT)


def test_the_network_is_not_changed():
    network, noisy = Convolutional(activation=Wave.apply, blind=False), random(2, 1, 4, 4)
    parameters = list(network.parameters())
    parameters[1].requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    jacobian = Jacobian(network, noisy, 0.1)
    jacobian.matrices(), jacobian.matvec(random(2, 2, 16)), jacobian.trace(probes=3)
    assert [parameter.grad for parameter in parameters] == [None] * 4
    assert [parameter.requires_grad for parameter in parameters] == [True, False, True, True]
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not noisy.requires_grad


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_results_require_no_gradients_and_are_the_same_with_gradients_disabled(mode):
    network, noisy, vectors = Convolutional(), random(1, 1, 4, 4).requires_grad_(), random(1, 2, 16, seed=1)

    def compute():
        jacobian = Jacobian(network, noisy, 0.1)
        return [jacobian.matrices(), jacobian.matvec(vectors), jacobian.rmatvec(vectors)]

    results = compute()
    assert not any(result.requires_grad for result in results)
    with mode():
        without_gradients = compute()
    for result, other in zip(results, without_gradients, strict=True):
        torch.testing.assert_close(result, other)


@pytest.mark.parametrize(
    ("noisy", "sigma", "training", "message"),
    [
        (torch.zeros(1, 4, 4), 0.1, False, r"\(1, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), 0.1, False, "uint8"),
        (torch.zeros(2, 1, 4, 4), torch.ones(3), False, r"2 images, not shape \(3,\)"),
        (torch.zeros(2, 1, 4, 4), torch.ones(2, 1), False, r"2 images, not shape \(2, 1\)"),
        (torch.zeros(2, 1, 4, 4), 0.1, True, r"call network.eval\(\)"),
    ],
)
def test_wrong_images_noise_levels_and_modes_are_rejected(noisy, sigma, training, message):
    with pytest.raises(ValueError, match=message):
        Jacobian(Convolutional(dtype=torch.float32).train(training), noisy, sigma)


class GradientStep(nn.Module):
    """A gradient step on the sum of y^3 / 3, whose Jacobian is the identity less 2 diag(y)."""

    def forward(self, noisy, sigma):
        value, pull_back = torch.func.vjp(lambda images: images**3 / 3, noisy)
        return noisy - pull_back(torch.ones_like(value))[0]


def test_networks_may_use_torch_func_in_their_forward_pass():
    noisy = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    jacobian = Jacobian(GradientStep().eval(), noisy, 0.1)
    expected = torch.diag_embed(1 - 2 * noisy.flatten(1))
    torch.testing.assert_close(jacobian.matrices().float(), expected)


SIGMA = 0.1


def test_the_denoiser_receives_the_truth_of_each_image():
    clean = random(4, 1, 8, 8)
    truth = Truth(clean, None, "test", 10)
    starts = []

    class Multiply(gahbench.Reference):
        kind = "oracle"

        def denoise(self, noisy, sigma, truth):
            starts.append((truth.start, len(truth)))
            return noisy * truth.clean * sigma

    maps = Multiply().jacobian(torch.zeros_like(clean), SIGMA, truth)
    torch.testing.assert_close(maps.matrices(), torch.diag_embed(SIGMA * clean.flatten(1)))
    torch.testing.assert_close(maps.select(2).matrices(), torch.diag_embed(SIGMA * clean[2:3].flatten(1)))
    assert {(10, 1), (11, 1), (12, 1), (13, 1)} == set(starts)


def soft(images, source):
    return images.sign() * (images.abs() - source.abs().amax((1, 2, 3), keepdim=True) / 2).clamp(min=0)


NOT_DIFFERENTIABLE = {
    "arrays": lambda images: torch.as_tensor(np.tanh(images.numpy())),
    "detached arrays": lambda images: torch.as_tensor(np.tanh(images.detach().numpy())),
    "a detached factor": lambda images: images * images.detach(),
    "a part in arrays": lambda images: images + torch.as_tensor(np.sin(9 * images.detach().numpy())),
    "a detached threshold": lambda images: soft(images, images.detach()),
    "rounding": lambda images: images * 0 + (1000 * images).round() / 1000,
}


@pytest.mark.parametrize("case", NOT_DIFFERENTIABLE)
def test_code_that_computes_partly_outside_torch_has_no_derivative(case):
    noisy = random(3, 1, 8, 8)
    assert autograd_jacobians(lambda images, first: NOT_DIFFERENTIABLE[case](images), noisy, SIGMA) is None
    assert autograd_jacobians(lambda images, first: soft(images, images), noisy, SIGMA) is not None


def test_errors_of_the_denoiser_itself_are_raised():
    with pytest.raises(RuntimeError, match="shape"):
        autograd_jacobians(lambda noisy, first: noisy.reshape(7), torch.zeros(1, 1, 4, 4), 0.1)


SIDE = 10
RELU_NETWORKS = [
    "unet[width=6,levels=1]", "bf-cnn[width=6,layers=5]", "dncnn[width=6,layers=5]", "ffdnet[width=6,layers=4]",
]  # fmt: skip


def network(name):
    """Return a network in evaluation mode, with weights such that all layers affect the output."""
    torch.manual_seed(0)
    model = gahbench.create("architecture", name, shape=(1, SIDE, SIDE)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter)
            else:
                parameter.uniform_(0.5, 1.5)
    return model


class Squares(nn.Module):
    """A network that is not linear between its ReLUs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, noisy, sigma):
        return torch.relu(self.layer(noisy)) ** 2 + noisy


class Casts(Squares):
    """A network that always computes in float32."""

    def forward(self, noisy, sigma):
        return torch.relu(self.layer(noisy.float()))


class Unrectified(Squares):
    """A network without ReLUs."""

    def forward(self, noisy, sigma):
        return self.layer(noisy)


OTHERS = ["nafnet[width=4]", "vit[width=16,depth=1,patch=2]", "mlp[width=16]", Squares, Casts, Unrectified]


@pytest.mark.parametrize("name", [*RELU_NETWORKS, *OTHERS])
def test_matrices_are_accurate_and_their_errors_are_measured(name):
    model = network(name) if isinstance(name, str) else name().eval()
    noisy = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    jacobian = Jacobian(model, noisy, torch.tensor([0.1, 0.3]))
    exact, (matrices, errors) = jacobian.matrices(), jacobian.matrices_in_bfloat16()
    expected = (matrices - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    assert (expected <= 0.012).all()
    torch.testing.assert_close(errors, expected.double(), rtol=0.5, atol=1e-6)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    if name in (*RELU_NETWORKS[:2], Unrectified):
        assert bool(errors.max() > 0) == (name != Unrectified)


def test_columns_are_timed_only_for_networks_that_are_supported():
    noisy = torch.rand(1, 1, SIDE, SIDE)
    jacobian = Jacobian(network(RELU_NETWORKS[0]), noisy, 0.1)
    assert jacobian.columns("float32", 7).shape[-2:] == jacobian.columns("bfloat16", 7).shape == (7, SIDE**2)
    with pytest.raises(ValueError, match="ReLU"):
        Jacobian(Unrectified().eval(), noisy, 0.1).columns("bfloat16", 7)
