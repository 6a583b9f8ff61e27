"""Measurements on a GPU agree with measurements on a CPU."""

import functools

import pytest
import torch
from devices import stand_in
from sample_files import TINY

import gahbench
from gahbench import Truth
from gahbench.jacobian import top
from gahbench.networks.initialisation import build_network
from gahbench.networks.trained import Trained
from gahbench.sampling import Sampling, draw_samples, wrap_network


def network():
    """Return a network whose initial weights are large enough to change images visibly."""
    return build_network(
        functools.partial(gahbench.create, "architecture", "unet[width=8,levels=2]"), 0, "kaiming"
    ).eval()


@pytest.fixture
def noisy():
    clean = gahbench.create("dataset", "discs", size=16).images("test", 4)
    return clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))


def test_a_network_denoises_equally_on_gpu_and_cpu(gpu, noisy):
    on_cpu, on_gpu = (Trained(network(), device).denoise(noisy, 0.1, Truth(noisy)) for device in ("cpu", gpu))
    assert on_gpu.device.type == "cpu"
    assert torch.allclose(on_gpu, on_cpu, atol=1e-4)
    assert not torch.allclose(on_cpu, noisy, atol=1e-2)


def test_jacobians_agree_on_gpu_and_cpu(gpu, noisy):
    noisy = noisy[:2]
    on_cpu, on_gpu = (Trained(network(), device).jacobian(noisy, 0.1, Truth(noisy)) for device in ("cpu", gpu))
    expected, matrices = on_cpu.matrices(), on_gpu.matrices().cpu()
    assert torch.allclose(matrices, expected, atol=1e-3 * float(expected.abs().max()))
    values, others = top(on_cpu, 5).values.cpu(), top(on_gpu, 5).values.cpu()
    assert torch.allclose(others, values, atol=1e-3 * float(values.abs().max()))


def test_samples_agree_on_gpu_and_cpu(gpu):
    settings = Sampling(count=3, seed=0, max_steps=5, sigma_start=1.0, sigma_end=0.01, step=0.1, beta=0.5)
    on_cpu, on_gpu = (
        draw_samples(wrap_network(network(), device), (1, 16, 16), settings, device=device) for device in ("cpu", gpu)
    )
    assert torch.allclose(on_gpu.images.cpu(), on_cpu.images, atol=1e-3 * float(on_cpu.images.abs().max()))


def test_two_workers_run_a_suite_on_the_gpu(gpu, tmp_path):
    if gpu.type == stand_in.NAME:
        pytest.skip("other processes do not have the stand-in")
    suite = tmp_path / "tiny.yaml"
    suite.write_text(TINY, encoding="utf-8")
    run = gahbench.run(suite, out=tmp_path / "results", workers=2, device=gpu.type)
    board = run.leaderboard(full=True)
    assert {"unet[width=2,levels=1]", "identity"} <= set(board["entrant"])
    assert board["psnr"].notna().all()
