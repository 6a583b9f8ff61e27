"""Conversion of models of diffusers, compared with the equations of samplers and the steps of schedulers."""

import types

import pytest
import torch
from small_plugins import tiny_unet

import gahbench
from gahbench import ParameterError

STEPS = 1000
ACCURACY = 1e-5


def unet(**parameters):
    return tiny_unet(**parameters).double()


def images(count):
    """Return random images and noise in [-1, 1]."""
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(2, count, 1, 8, 8, dtype=torch.float64, generator=generator) * 2 - 1).unbind()


def relative_error(result, expected):
    """Return the largest error of images, each relative to its largest value."""
    largest = expected.flatten(1).abs().amax(1).reshape(-1, 1, 1, 1)
    return float(((result - expected).abs() / largest).max())


def estimated(prediction, network, diffused, times, product):
    """Return the image estimate in a step of DDPM (Ho et al. 2020, eq. 15; Salimans & Ho 2022, section 4)."""
    output = network(diffused, times).sample
    return {
        "epsilon": lambda: (diffused - (1 - product).sqrt() * output) / product.sqrt(),
        "sample": lambda: output,
        "v_prediction": lambda: product.sqrt() * diffused - (1 - product).sqrt() * output,
    }[prediction]()


@pytest.mark.extras("diffusers")
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@torch.no_grad()
def test_a_ddpm_model_agrees_with_the_sampler_equations_at_every_timestep(prediction):
    """The denoised images, which determine the steps of DDIM and DDPM, agree to 1e-5 in float64."""
    import diffusers

    network = unet()
    scheduler = diffusers.DDPMScheduler(STEPS, prediction_type=prediction, clip_sample=False)
    denoiser = gahbench.as_denoiser(network, scheduler=scheduler)
    times = torch.arange(STEPS)
    products = torch.cumprod(1 - torch.linspace(1e-4, 0.02, STEPS), 0).double()
    product = products.reshape(-1, 1, 1, 1)
    clean, noise = images(STEPS)
    diffused = product.sqrt() * clean + (1 - product).sqrt() * noise

    # In [0, 1], the noisy images are y = (x_t / sqrt(abar) + 1) / 2, with sigma = sqrt((1 - abar) / abar) / 2.
    sigma = ((1 - products) / products).sqrt() / 2
    denoised = 2 * denoiser((diffused / product.sqrt() + 1) / 2, sigma) - 1
    expected = estimated(prediction, network, diffused, times, product)
    assert relative_error(denoised, expected) < ACCURACY

    outputs = network(diffused, times).sample.split(1)
    steps = [scheduler.step(outputs[time], time, diffused[time : time + 1]) for time in range(STEPS)]
    assert relative_error(denoised, torch.cat([step.pred_original_sample for step in steps])) < ACCURACY


@pytest.mark.extras("diffusers")
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"])
@torch.no_grad()
def test_edm_preconditioning_agrees_with_diffusers(name, prediction):
    import diffusers

    network = unet()
    scheduler = getattr(diffusers, name)(sigma_data=0.7, prediction_type=prediction)
    denoiser = gahbench.as_denoiser(network, scheduler=scheduler)
    levels = torch.logspace(-2.7, 1.9, 60, dtype=torch.float64)
    column = levels.reshape(-1, 1, 1, 1)
    clean, noise = images(len(levels))
    noisy = clean + column * noise
    output = network(scheduler.precondition_inputs(noisy, column), scheduler.precondition_noise(levels)).sample
    assert (
        relative_error(
            2 * denoiser((noisy + 1) / 2, levels / 2) - 1, scheduler.precondition_outputs(noisy, output, column)
        )
        < ACCURACY
    )


@pytest.mark.extras("diffusers")
@torch.no_grad()
def test_a_learned_variance_is_ignored():
    import diffusers

    network = unet(out_channels=2)
    scheduler = diffusers.DDPMScheduler(STEPS, variance_type="learned_range", clip_sample=False)
    clean, _ = images(1)
    product = scheduler.alphas_cumprod[300].double()
    level = ((1 - product) / product).sqrt()[None] / 2
    denoised = 2 * gahbench.as_denoiser(network, scheduler=scheduler)((clean / product.sqrt() + 1) / 2, level) - 1
    step = scheduler.step(network(clean, torch.tensor([300])).sample, 300, clean)
    assert relative_error(denoised, step.pred_original_sample) < ACCURACY


def fake_scheduler(name, config, **attributes):
    """Return an object with the attributes of a scheduler of diffusers."""
    return type(name, (), {"config": config, **attributes})()


def test_noise_levels_and_timesteps_of_a_scheduler():
    products = torch.tensor([0.9, 0.5, 0.1])
    scheduler = fake_scheduler("DDPMScheduler", {"prediction_type": "epsilon"}, alphas_cumprod=products)
    seen = []

    def network(noisy, times):
        seen.append(times.tolist())
        return types.SimpleNamespace(sample=torch.zeros_like(noisy))

    for interpolate in (False, True):
        denoiser = gahbench.as_denoiser(network, scheduler=scheduler, interpolate=interpolate)
        denoiser(torch.zeros(1, 1, 2, 2), torch.tensor([(1 / 9) ** 0.25 / 2]))
    assert denoiser.noise_levels == pytest.approx((1 / 6, 1.5))
    assert seen[0] in ([0], [1])
    assert seen[1] == [pytest.approx(0.5, abs=1e-5)]
    edm = fake_scheduler("EDMEulerScheduler", {"prediction_type": "epsilon", "sigma_data": 0.5})
    assert gahbench.as_denoiser(network, scheduler=edm).noise_levels is None


@pytest.mark.parametrize(("name", "config", "parameters", "message"), [
    ("Flow", None, {}, "scheduler=Flow; accepted"),
    ("Euler", {"timestep_type": "continuous", "prediction_type": "epsilon"}, {}, "scheduler=Euler; accepted"),
    ("DDIMScheduler", {"prediction_type": "flow"}, {}, "'flow' of DDIMScheduler; accepted: epsilon, sample, v_pred"),
    ("EDMEulerScheduler", {"prediction_type": "sample"}, {}, "'sample' of EDMEulerScheduler; accepted: epsilon, v_pr"),
    ("DDIMScheduler", {"prediction_type": "epsilon"}, {"output": "v"}, "the scheduler determines them"),
])  # fmt: skip
def test_unsupported_schedulers_are_rejected(name, config, parameters, message):
    attributes = {} if config is None else {"alphas_cumprod": [0.5, 0.1]}
    with pytest.raises(ParameterError, match=message):
        gahbench.as_denoiser(
            lambda *inputs: inputs[0], scheduler=fake_scheduler(name, config or {}, **attributes), **parameters
        )
