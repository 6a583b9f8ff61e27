"""What is measured on a GPU is what is measured on a CPU."""

import functools

import pytest
import torch
from sample_files import TINY

import gahbench
from gahbench import Truth
from gahbench.jacobian import top
from gahbench.networks.initialisation import build_network
from gahbench.networks.trained import Trained
from gahbench.sampling import Sampling, draw_samples, of_network


def network():
    """Return a network with weights that are large enough to matter."""
    return build_network(
        functools.partial(gahbench.create, "architecture", "unet[width=8,levels=2]"), 0, "kaiming"
    ).eval()


@pytest.fixture
def noisy():
    clean = gahbench.create("dataset", "discs", size=16).images("test", 4)
    return clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))


def test_a_trained_network_denoises_alike(gpu, noisy):
    here, there = (Trained(network(), device).denoise(noisy, 0.1, Truth(noisy)) for device in ("cpu", gpu))
    assert there.device.type == "cpu"
    assert torch.allclose(there, here, atol=1e-4)
    assert not torch.allclose(here, noisy, atol=1e-2)


def test_jacobians_are_alike(gpu, noisy):
    noisy = noisy[:2]
    here, there = (Trained(network(), device).jacobian(noisy, 0.1, Truth(noisy)) for device in ("cpu", gpu))
    expected, found = here.matrices(), there.matrices().cpu()
    assert torch.allclose(found, expected, atol=1e-3 * float(expected.abs().max()))
    values, others = top(here, 5).values.cpu(), top(there, 5).values.cpu()
    assert torch.allclose(others, values, atol=1e-3 * float(values.abs().max()))


def test_samples_are_alike(gpu):
    settings = Sampling(count=3, seed=0, max_steps=5, sigma_start=1.0, sigma_end=0.01, step=0.1, beta=0.5)
    here, there = (
        draw_samples(of_network(network(), device), (1, 16, 16), settings, device=device) for device in ("cpu", gpu)
    )
    assert torch.allclose(there.images.cpu(), here.images, atol=1e-3 * float(here.images.abs().max()))


def test_two_workers_run_a_suite_on_the_gpu(gpu, tmp_path):
    suite = tmp_path / "tiny.yaml"
    suite.write_text(TINY, encoding="utf-8")
    run = gahbench.run(suite, out=tmp_path / "results", workers=2, device=gpu.type)
    board = run.leaderboard(full=True)
    assert {"unet[width=2,levels=1]", "identity"} <= set(board["entrant"])
    assert board["psnr"].notna().all()
