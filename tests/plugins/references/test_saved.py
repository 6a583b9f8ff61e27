"""Models saved with their code, and untrained networks."""

import pytest
import torch
from constructing import construct
from torch import nn

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.contracts.truth import Truth
from gahbench.networks.initialisation import build_network
from gahbench_plugins.references.untrained import Untrained


class Smooth(nn.Module):
    """A mean over neighbours, with the convention of the saved file."""

    def __init__(self, sigma: str, output: str, scale: float, offset: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))
        self.sigma, self.output, self.scale, self.offset = sigma, output, scale, offset

    def denoised(self, images):
        mean = nn.functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
        return images + self.weight * (mean - images)

    def forward(self, images, level=None):
        noisy = images[:, :1]
        result = self.denoised(noisy)
        if self.output == "image":
            return result
        residual = noisy - result
        if self.output == "residual":
            return residual
        if self.sigma == "map":
            return residual / images[:, 1:]
        return residual / level.reshape(-1, 1, 1, 1)


def save_model(path, kind, sigma, model):
    images = torch.rand(3, 2 if sigma == "map" else 1, 16, 16)
    given = (images, torch.rand(3)) if sigma == "level" else (images,)
    if kind == "torchscript":
        torch.jit.save(torch.jit.trace(model, given), path)
    else:
        batch = torch.export.Dim("batch", min=1, max=1000)
        dynamic = tuple({0: batch} for _ in given)
        torch.export.save(torch.export.export(model, given, dynamic_shapes=dynamic), path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["torchscript", "torch-export"])
@pytest.mark.parametrize(
    ("sigma", "output", "range_"),
    [("none", "image", "unit"), ("level", "eps", "symmetric"), ("map", "residual", "bytes"), ("map", "eps", "unit")],
)
def test_every_convention_gives_the_same_denoiser(tmp_path, kind, sigma, output, range_):
    ends = {"unit": (1.0, 0.0), "symmetric": (2.0, -1.0), "bytes": (255.0, 0.0)}
    path = tmp_path / "model.pt2"
    save_model(path, kind, sigma, Smooth(sigma, output, *ends[range_]))
    reference = gahbench.create("reference", kind, checkpoint=str(path), sigma=sigma, output=output, range=range_)
    reference.check_shape((1, 16, 16))
    noisy = torch.rand(5, 1, 16, 16)
    expected = Smooth("none", "image", 1.0, 0.0).denoised(noisy)
    result = reference.denoise(noisy, 0.1, gahbench.Truth(noisy))
    assert torch.allclose(result, expected, atol=1e-5)
    if kind == "torchscript":
        # The denoiser returns half of each pixel plus half of the mean of 9, 6 or 4 pixels.
        (matrix,) = reference.jacobian(noisy[:1], 0.1, gahbench.Truth(noisy[:1])).matrices()
        assert float(matrix.trace()) == pytest.approx(128 + 0.5 * (196 / 9 + 56 / 6 + 4 / 4), rel=1e-3)
    assert reference.num_parameters == 1
    assert "model.pt2" in reference.notes[0]


def test_a_file_without_a_model_is_refused(tmp_path):
    (tmp_path / "text.pt").write_text("not a model")
    with pytest.raises(ParameterError, match=r"text\.pt: not a TorchScript archive or"):
        gahbench.create("reference", "torchscript", checkpoint=str(tmp_path / "text.pt")).check_shape((1, 16, 16))


NETWORK = "bf-cnn[width=6,layers=4]"


def images(count=2, size=8):
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(0))


def denoise(reference, noisy=None):
    noisy = images() if noisy is None else noisy
    return reference.denoise(noisy, 0.1, Truth(noisy))


@pytest.mark.parametrize("initialisation", ["own", "kaiming"])
def test_untrained_is_the_network_at_the_start_of_training(initialisation):
    network = build_network(lambda: gahbench.create("architecture", NETWORK, shape=(1, 8, 8)), 3, initialisation).eval()
    reference, noisy = construct(Untrained, NETWORK, seed=3, initialisation=initialisation), images()
    with torch.no_grad():
        expected = network(noisy, torch.full((2,), 0.1))
    torch.testing.assert_close(denoise(reference), expected)
    # The expected Jacobian is computed row by row, by backward passes.
    result = reference.jacobian(noisy, 0.1, Truth(noisy)).matrices()
    for image, matrix in zip(noisy, result, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda y: network(y[None], torch.full((1,), 0.1))[0], image)
        torch.testing.assert_close(matrix, jacobian.reshape(64, 64), atol=1e-5, rtol=1e-4)
