"""Properties of samples from any denoiser: seeds, batches, noise levels, and the status of samples."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.networks.precision import Choice
from gahbench.networks.trained import Trained
from gahbench.sampling import Sampling, draw_samples, images_device, wrap_denoiser, wrap_network
from gahbench.sampling.flow import flow
from gahbench.sampling.noise import draw_step_noise, starting_noise, step_noise
from gahbench.sampling.stochastic import stochastic

SHAPE = (1, 6, 5)
SAMPLERS = pytest.mark.parametrize("sampler", ["stochastic", "flow"])


def shrinking(noisy, sigma):
    """Denoise optimally images of white noise around 1/2 with standard deviation 0.2."""
    return 0.5 + (noisy - 0.5) * 0.04 / (0.04 + sigma[:, None, None, None] ** 2)


def known_noise(noisy, sigma):
    """Return a grey image, so that the residual is exactly the noise."""
    return torch.full_like(noisy, 0.5)


class Convolution(nn.Module):
    """A network whose output depends on neighbouring pixels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, noisy, sigma):
        return 0.5 + 0.2 * torch.tanh(self.convolution(noisy)) / (1 + sigma[:, None, None, None])


@SAMPLERS
def test_samples_depend_neither_on_batches_nor_on_the_number_of_samples(sampler):
    denoise = wrap_network(Convolution())

    def draw(count, **options):
        return draw_samples(denoise, SHAPE, Sampling(sampler=sampler, count=count, seed=4, sigma_end=0.1), **options)

    expected = draw(70)
    assert len({tuple(image.flatten().tolist()) for image in expected.images}) == 70
    for part, indices in (
        (draw(70, batch=7), slice(0, 70)),
        (draw(3), slice(0, 3)),
        (draw(6, first=62, batch=4), slice(62, 68)),
    ):
        torch.testing.assert_close(part.images, expected.images[indices], rtol=0, atol=1e-5)
        assert part.steps.tolist() == expected.steps[indices].tolist()
        torch.testing.assert_close(part.sigma, expected.sigma[indices], rtol=0, atol=1e-6)


@SAMPLERS
def test_samples_depend_on_the_seed(sampler):
    def draw(seed):
        return draw_samples(shrinking, SHAPE, Sampling(sampler=sampler, count=4, seed=seed, sigma_end=0.1)).images

    assert torch.equal(draw(1), draw(1))
    assert not torch.isclose(draw(1), draw(2)).any()


def test_starting_noise_is_white_and_independent_between_samples():
    noise = starting_noise(500, (2, 8, 8), seed=3)
    assert noise.shape == (500, 2, 8, 8)
    assert abs(float(noise.mean())) < 4 / math.sqrt(noise.numel())
    assert abs(float(noise.square().mean()) - 1) < 4 * math.sqrt(2 / noise.numel())
    correlations = noise[:64].flatten(1) @ noise[:64].flatten(1).mT / 128 - torch.eye(64)
    assert float(correlations.triu(1).abs().max()) < 5.5 / math.sqrt(128)
    assert torch.equal(starting_noise(10, (2, 8, 8), 3, first=100), noise[100:110])
    assert starting_noise(0, (2, 8, 8)).shape == (0, 2, 8, 8)


def test_step_noise_is_white_and_independent_between_steps_and_samples():
    sources = [step_noise(0, number) for number in range(2)]
    images = torch.stack([draw_step_noise(sources, torch.empty(2, 1, 8, 8)) for _ in range(50)], dim=1)
    assert float((images.flatten(1) @ images.flatten(1).mT / images[0].numel() - torch.eye(2)).abs().max()) < 0.1
    start = starting_noise(2, (1, 8, 8), 0)
    series = torch.cat([start[:1], images[0]]).flatten(1)
    assert float((series @ series.mT / 64 - torch.eye(51)).triu(1).abs().max()) < 5.5 / 8


@SAMPLERS
def test_samples_start_from_the_starting_noise(sampler):
    settings = Sampling(sampler=sampler, count=3, seed=9, sigma_start=2.0, mean=0.25)
    drawn = draw_samples(lambda noisy, sigma: noisy * torch.nan, SHAPE, settings, batch=2)
    # Samples that diverge in the first step are the starting noise.
    torch.testing.assert_close(drawn.images, 0.25 + 2 * starting_noise(3, SHAPE, 9))
    assert drawn.status == ("diverged",) * 3
    assert drawn.steps.tolist() == [0] * 3
    assert bool(drawn.sigma.isnan().all())
    assert str(drawn).startswith(f"3 samples by the {sampler} sampler: 3 diverged; 0 steps")


def test_steps_follow_the_formula():
    """The sampler agrees with a loop over the steps of one image."""
    settings = Sampling(count=1, seed=6, step=0.1, beta=0.3)
    drawn = draw_samples(shrinking, SHAPE, settings)
    sources = [step_noise(6, 0)]
    y, sigma, number = 0.5 + starting_noise(1, SHAPE, 6).double(), 1.0, 0
    while True:
        residual = (0.5 + (y - 0.5) * 0.04 / (0.04 + sigma**2)) - y
        sigma = float(residual.square().mean().sqrt())
        if sigma <= 0.05:
            break
        number += 1
        h = 0.1 * number / (1 + 0.1 * (number - 1))
        z = draw_step_noise(sources, torch.empty(1, *SHAPE))
        y = y + h * residual + math.sqrt((1 - 0.3 * h) ** 2 - (1 - h) ** 2) * sigma * z.double()
    assert drawn.steps.tolist() == [number]
    torch.testing.assert_close(drawn.images.double(), y + residual, rtol=0, atol=1e-5)
    assert float(drawn.sigma[0]) == pytest.approx(sigma, rel=1e-4)


@pytest.mark.parametrize("growth", ["growing", "constant"])
def test_a_denoiser_whose_residual_is_the_noise_takes_the_ideal_steps(growth):
    settings = Sampling(count=8, growth=growth, step=0.05)
    drawn = draw_samples(known_noise, (1, 48, 48), settings)
    # The noise level of a finite image fluctuates.
    assert drawn.steps.double().mean() == pytest.approx(settings.ideal_steps(), rel=0.02)
    torch.testing.assert_close(drawn.images, torch.full((8, 1, 48, 48), 0.5))
    assert bool((drawn.sigma <= 0.05).all())
    noisy = draw_samples(known_noise, (1, 48, 48), settings.model_copy(update={"final_step": False}))
    torch.testing.assert_close((noisy.images - 0.5).flatten(1).square().mean(1).sqrt().double(), drawn.sigma)


def test_a_denoiser_receives_the_noise_level_of_each_image():
    levels = []

    def denoise(noisy, sigma):
        levels.append(sigma.clone())
        residual = shrinking(noisy, sigma) - noisy
        measured = residual.flatten(1).square().mean(1).sqrt()
        levels.append(measured)
        return noisy + residual

    draw_samples(denoise, SHAPE, Sampling(count=3, max_steps=5))
    assert levels[0].tolist() == [1, 1, 1]
    for measured, next_level in zip(levels[1:-1:2], levels[2::2], strict=True):
        torch.testing.assert_close(next_level, measured)
    levels.clear()
    draw_samples(denoise, SHAPE, Sampling(sampler="flow", count=3, levels=(1.0, 0.5, 0.25), solver="euler"))
    assert [level.tolist() for level in levels[::2]] == [[1.0] * 3, [0.5] * 3, [0.25] * 3]


@SAMPLERS
def test_networks_trained_denoisers_and_references_are_called_equally(sampler):
    network = Convolution()
    settings = Sampling(sampler=sampler, count=3, max_steps=30 if sampler == "stochastic" else None, sigma_end=0.2)
    from_network = draw_samples(wrap_network(network), SHAPE, settings)
    from_denoiser = draw_samples(wrap_denoiser(Trained(network), SHAPE), SHAPE, settings)
    assert torch.equal(from_network.images, from_denoiser.images)
    untrained = gahbench.create("reference", "untrained", architecture="unet-conditional[width=8]")
    denoise = wrap_denoiser(untrained, (1, 16, 16))
    calls = []
    untrained.as_network((1, 16, 16)).register_forward_hook(lambda module, inputs, output: calls.append(inputs))
    draw_samples(denoise, (1, 16, 16), settings)
    assert len(calls[0][0]) == 3
    assert all(sigma.shape == (len(noisy),) for noisy, sigma in calls)


def test_a_reference_is_called_once_for_each_noise_level():
    calls = []

    class Shrink(gahbench.Reference):
        def denoise(self, noisy, sigma, truth):
            calls.append(len(noisy))
            # A practical denoiser receives neither the clean images nor the dataset.
            assert bool(truth.clean.isnan().all())
            assert truth.clean.shape == noisy.shape
            assert truth.dataset is None
            return shrinking(noisy, torch.full((len(noisy),), sigma))

    dataset = gahbench.create("dataset", "discs", size=8)
    for settings in (Sampling(sampler="flow", count=5), Sampling(count=5, sigma_end=0.1)):
        calls.clear()
        drawn = draw_samples(wrap_denoiser(Shrink(), SHAPE, dataset), SHAPE, settings)
        torch.testing.assert_close(drawn.images, draw_samples(shrinking, SHAPE, settings).images)
        assert set(calls) == ({5} if settings.sampler == "flow" else {1, 5})


def test_images_are_on_the_device_of_networks_and_on_the_cpu_for_other_denoisers():
    meta, cpu = torch.device("meta"), torch.device("cpu")
    untrained = gahbench.create("reference", "untrained", architecture="unet[width=2,levels=1]")
    assert images_device(Trained(Convolution()), SHAPE, meta) == meta
    assert images_device(untrained, (1, 8, 8), meta) == meta
    assert images_device(gahbench.create("reference", "optimal"), SHAPE, meta) == cpu


@pytest.mark.parametrize("name", ["oracle-shrink", "lower-bound"])
def test_denoisers_that_need_the_clean_image_are_rejected(name):
    with pytest.raises(ParameterError, match="need the clean image, which samples do not have"):
        wrap_denoiser(gahbench.create("reference", name), SHAPE)


def breaking(value):
    """Return a denoiser that breaks images 1 and 4 at its tenth call, while all images are active."""
    calls = []

    def denoise(noisy, sigma):
        calls.append(len(noisy))
        denoised = shrinking(noisy, sigma)
        if len(calls) == 10:
            assert len(noisy) == 6
            denoised[[1, 4], 0, 0, 0] = value
        return denoised

    return denoise


@SAMPLERS
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e30, 1e3])
def test_diverged_images_are_reported_and_do_not_affect_others(sampler, value):
    settings = Sampling(sampler=sampler, count=6, sigma_end=0.1)
    drawn = draw_samples(breaking(value), SHAPE, settings)
    assert [index for index, status in enumerate(drawn.status) if status == "diverged"] == [1, 4]
    # Heun's method denoises twice per step.
    assert drawn.steps[[1, 4]].tolist() == [9 if sampler == "stochastic" else 4] * 2
    assert not bool((drawn.sigma[[1, 4]] <= settings.bound).any())
    expected = draw_samples(shrinking, SHAPE, settings)
    torch.testing.assert_close(drawn.images[drawn.converged], expected.images[drawn.converged])
    assert bool(drawn.images.isfinite().all())
    assert "4 converged, 2 diverged; " in str(drawn)


def test_a_growing_residual_diverges_and_a_constant_residual_runs_out_of_steps():
    drawn = draw_samples(lambda noisy, sigma: 2.2 * noisy, SHAPE, Sampling(count=2, step=0.5))
    assert drawn.status == ("diverged",) * 2
    assert bool(((drawn.sigma > 4) & (drawn.sigma < 20) & (drawn.steps > 0)).all())
    drawn = draw_samples(lambda noisy, sigma: noisy + 0.3, SHAPE, Sampling(count=2, max_steps=7, beta=1.0))
    assert drawn.status == ("out of steps",) * 2
    assert drawn.steps.tolist() == [7, 7]
    assert drawn.sigma.tolist() == pytest.approx([0.3, 0.3])
    assert not bool(drawn.converged.any())


@SAMPLERS
def test_progress_rises_to_1(sampler):
    reports = []
    draw_samples(
        shrinking,
        SHAPE,
        Sampling(sampler=sampler, count=7, sigma_end=0.1),
        batch=3,
        progress=lambda share, finished: reports.append((share, finished)),
    )
    assert reports == sorted(reports)
    assert reports[-1] == (pytest.approx(1), 7)
    assert 0 < reports[0][0] < 0.1


def test_wrong_shapes_and_arguments_are_rejected():
    with pytest.raises(ValueError, match=r"returned shape \(2, 1, 6, 1\) for images of \(2, 1, 6, 5\)"):
        draw_samples(lambda noisy, sigma: noisy[..., :1], SHAPE, Sampling(count=2))
    with pytest.raises(ParameterError, match=r"batch=0; accepted: 1, 2, \.\.\."):
        draw_samples(shrinking, SHAPE, batch=0)
    with pytest.raises(ParameterError, match=r"first=-1; accepted: 0, 1, \.\.\."):
        draw_samples(shrinking, SHAPE, first=-1)


def test_a_random_denoiser_is_reproducible_and_the_global_random_state_is_restored():
    torch.manual_seed(1)
    before = torch.get_rng_state()

    def draw():
        random_denoiser = lambda noisy, sigma: shrinking(noisy, sigma) + 0.01 * torch.randn(noisy.shape)  # noqa: E731
        return draw_samples(random_denoiser, SHAPE, Sampling(count=2)).images

    assert torch.equal(draw(), draw())
    assert torch.equal(torch.get_rng_state(), before)


def test_bfloat16_has_a_small_relative_error():
    network = gahbench.create("architecture", "unet", width=8, levels=2)
    noisy, sigma = torch.randn(2, 1, 16, 16), torch.ones(2)
    with torch.no_grad():
        exact = wrap_network(network)(noisy, sigma)
        approximate = wrap_network(network, precision="bfloat16")(noisy, sigma)
    assert approximate.dtype == torch.float32
    assert 0 < float((approximate - exact).norm() / (exact - noisy).norm()) < 0.02


def test_auto_chooses_the_faster_precision_at_the_first_batch(monkeypatch):
    network = gahbench.create("architecture", "unet", width=8, levels=2)
    noisy, sigma = torch.randn(2, 1, 16, 16), torch.ones(2)
    measured_passes = []

    def fake_measure(run, passes, device):
        measured_passes.append(passes)
        return Choice("bfloat16", "faster", {name: float(run(name).sum()) for name in ("float32", "bfloat16")})

    monkeypatch.setattr("gahbench.devices.hardware.Hardware.has_bfloat16", True)
    with torch.no_grad():
        # A hundred small batches are not worth timing.
        assert torch.equal(wrap_network(network, precision="auto")(noisy, sigma), wrap_network(network)(noisy, sigma))
        monkeypatch.setattr("gahbench.networks.precision.measure", fake_measure)
        auto = wrap_network(network, precision="auto", calls=1000)
        assert torch.equal(auto(noisy, sigma), wrap_network(network, precision="bfloat16")(noisy, sigma))
        auto(noisy, sigma)
    assert measured_passes == [1000.0]
    with torch.no_grad():
        # A few calls with many images are timed on a subset of the images.
        wrap_network(network, precision="auto", calls=100)(torch.randn(20, 1, 16, 16), torch.ones(20))
    assert measured_passes == [1000.0, 1000.0]


def test_settings_do_not_import_torch():
    code = "import sys; from gahbench.sampling import Sampling; Sampling(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


VARIANTS = {
    "stochastic": {},
    "without the final step": {"final_step": False},
    "out of steps": {"max_steps": 40, "beta": 0.3},
    "heun": {"sampler": "flow", "levels": 13},
    "euler": {"sampler": "flow", "levels": 13, "solver": "euler"},
}


def failing(noisy, sigma):
    """Denoise like ``shrinking``, but make images NaN or infinite if their first pixel comes near a given value."""
    first = noisy[:, :1, :1, :1]
    denoised = torch.where((first - 0.9).abs() < 0.03, torch.nan, shrinking(noisy, sigma))
    return torch.where((first - 0.1).abs() < 0.03, torch.inf, denoised)


def draw_checked(denoise, settings, every, batch, device="cpu"):
    """Draw samples, checking for finished images every ``every`` steps."""
    sampler, device = flow if settings.sampler == "flow" else stochastic, torch.device(device)
    arguments = {"first": 3, "batch": batch, "every": every, "device": device, "progress": lambda *report: None}
    return sampler(denoise, SHAPE, settings, **arguments)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("denoise", [shrinking, failing])
def test_samples_depend_neither_on_the_interval_of_checks_nor_on_batches(denoise, variant):
    settings = Sampling(count=30, seed=2, **VARIANTS[variant])
    expected = draw_checked(denoise, settings, every=1, batch=30)
    assert "converged" in expected.status
    assert ("diverged" in expected.status) == (denoise is failing)
    assert ("out of steps" in expected.status) == (variant == "out of steps" and denoise is shrinking)
    for every, batch in ((8, 7), (200, 10)):
        drawn = draw_checked(denoise, settings, every, batch)
        torch.testing.assert_close(drawn.images, expected.images, rtol=0, atol=1e-5)
        torch.testing.assert_close(drawn.sigma, expected.sigma, rtol=1e-5, atol=1e-7, equal_nan=True)
        assert (drawn.steps.tolist(), drawn.status) == (expected.steps.tolist(), expected.status)


@pytest.mark.parametrize("every", [1, 8])
def test_checks_refill_the_batch_and_waste_less_than_an_interval_per_image(every):
    sizes = []

    def count_calls(noisy, sigma):
        sizes.append(len(noisy))
        return shrinking(noisy, sigma)

    drawn = draw_checked(count_calls, Sampling(count=50), every, batch=8)
    # Each image takes a call per step and a call for its last residual, rounded up to whole intervals.
    assert sum(sizes) == sum(-(-(steps + 1) // every) * every for steps in drawn.steps.tolist())
    assert set(sizes[: sizes.index(7)]) == {8}


def test_the_denoiser_receives_finished_images_unchanged_and_no_invalid_values():
    seen = []

    def watched(noisy, sigma):
        seen.append((noisy.clone(), sigma.clone()))
        return failing(noisy, sigma)

    for variant in ("stochastic", "heun"):
        seen.clear()
        drawn = draw_checked(watched, Sampling(count=200, seed=2, **VARIANTS[variant]), every=200, batch=200)
        assert "diverged" in drawn.status
        assert all(bool(noisy.isfinite().all() and sigma.isfinite().all()) for noisy, sigma in seen)
        for index in (index for index, status in enumerate(drawn.status) if status == "diverged"):
            torch.testing.assert_close(seen[-1][0][index], drawn.images[index])


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_value_is_read_from_the_device_between_checks(variant):
    """Tensors on the device ``meta`` have no values: reading one raises an error."""
    calls, settings = [], Sampling(count=4, **VARIANTS[variant])

    def count_calls(noisy, sigma):
        calls.append(noisy.device.type)
        return shrinking(noisy, sigma)

    with pytest.raises(NotImplementedError, match="meta"):
        draw_checked(count_calls, settings, every=5, batch=3, device="meta")
    # Heun's method denoises twice per step.
    assert calls == ["meta"] * (10 if variant == "heun" else 5)
