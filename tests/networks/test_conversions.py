"""Conversion of models with other conventions to denoisers, compared with closed forms and with diffusers."""

import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_plugins import tiny_unet

import gahbench
from gahbench import ParameterError

VARIANCE = 0.3

pytestmark = pytest.mark.usefixtures("figures_not_rendered")


def best(noisy, sigma):
    """Denoise optimally white images in [0, 1] of mean 1/2 and variance VARIANCE."""
    return 0.5 + VARIANCE / (VARIANCE + sigma**2) * (noisy - 0.5)


def model(output, low, high):
    """Return the optimal denoiser as a model with another value range and output."""
    scale = high - low

    def image(noisy, sigma):
        return best((noisy - low) / scale, sigma / scale) * scale + low

    def run(noisy, sigma):
        level = sigma.reshape(-1, 1, 1, 1)
        clean = image(noisy, level)
        return {
            "image": clean,
            "residual": noisy - clean,
            "eps": (noisy - clean) / level,
            "score": (clean - noisy) / level**2,
        }[output]

    return run


def case(seed=0):
    generator = torch.Generator().manual_seed(seed)
    noisy = torch.rand(3, 1, 4, 4, dtype=torch.float64, generator=generator)
    return noisy, torch.tensor([0.05, 0.3, 2.0], dtype=torch.float64)


@pytest.mark.parametrize("output", ["image", "residual", "eps", "score"])
@settings(deadline=None, max_examples=25)
@given(low=st.floats(-3, 1), width=st.floats(0.1, 300))
def test_all_value_ranges_and_outputs_give_the_same_denoiser(output, low, width):
    noisy, sigma = case()
    denoiser = gahbench.as_denoiser(model(output, low, low + width), value_range=(low, low + width), output=output)
    torch.testing.assert_close(denoiser(noisy, sigma), best(noisy, sigma.reshape(-1, 1, 1, 1)), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("output", ["eps", "image", "v"])
def test_a_diffusion_model_with_timesteps_becomes_the_optimal_denoiser(output):
    """The model takes images in [-1, 1] with y = sqrt(abar) x + sqrt(1 - abar) eps; all timesteps agree to 1e-5."""
    products = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)

    def network(images, times):
        product = products[times].reshape(-1, 1, 1, 1)
        level = ((1 - product) / product).sqrt()
        clean = 2 * best((images / product.sqrt() + 1) / 2, level / 2) - 1
        noise = (images - product.sqrt() * clean) / (1 - product).sqrt()
        return {"eps": noise, "image": clean, "v": product.sqrt() * noise - (1 - product).sqrt() * clean}[output]

    denoiser = gahbench.as_denoiser(network, "timestep", (-1, 1), output, products)
    sigmas = ((1 - products) / products).sqrt() / 2
    noisy = torch.rand(1000, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = best(noisy, sigmas.reshape(-1, 1, 1, 1))
    torch.testing.assert_close(denoiser(noisy, sigmas), expected, rtol=1e-5, atol=1e-8)


def test_edm_outputs_give_the_optimal_denoiser():
    data = 0.5

    def network(images, noise):
        sigma = (4 * noise).exp().reshape(-1, 1, 1, 1)
        total = (sigma**2 + data**2).sqrt()
        noisy = images * total
        clean = 2 * best((noisy + 1) / 2, sigma / 2) - 1
        return (clean - data**2 / total**2 * noisy) / (sigma * data / total)

    noisy, sigma = case()
    denoiser = gahbench.as_denoiser(network, value_range=(-1, 1), output="edm", sigma_data=data)
    torch.testing.assert_close(denoiser(noisy, sigma), best(noisy, sigma.reshape(-1, 1, 1, 1)))


def test_noise_maps_blind_models_and_numpy_models_are_supported():
    noisy, sigma = case()
    noise_map = gahbench.as_denoiser(lambda images: images[:, 1:], "map", (0, 255))(noisy, sigma)
    torch.testing.assert_close(noise_map, sigma.reshape(-1, 1, 1, 1).expand_as(noisy))
    torch.testing.assert_close(gahbench.as_denoiser(lambda images: images / 2, "none")(noisy, sigma), noisy / 2)
    clipped = gahbench.as_denoiser(lambda images, levels: np.clip(images.numpy(), 0.2, 0.8))(noisy, sigma)
    assert float(clipped.max()) <= 0.8


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sigma": "log"}, "sigma='log'; accepted: none, level, map, timestep"),
        ({"output": "noise"}, "output='noise'; accepted: image, residual, eps, score, v, edm"),
        ({"sigma": "timestep"}, "sigma='timestep' needs alphas_cumprod"),
        ({"value_range": (1, -1)}, "the lower number first"),
        ({"sigma": "timestep", "alphas_cumprod": torch.tensor([0.1, 0.5])}, "decreasing numbers"),
    ],
)
def test_invalid_parameters_are_rejected(parameters, message):
    with pytest.raises(ParameterError, match=message.replace("(", r"\(")):
        gahbench.as_denoiser(lambda images, levels: images, **parameters)


def test_a_model_is_scored_with_the_references_of_a_suite(tmp_path):
    suite = """
name: beside
datasets: [{gaussian-field: {size: 8}}]
entrants: [{unet: {width: 4, levels: 1}}, identity, optimal]
training: {steps: 1}
scoring: {sigmas: [0.1], images: 4, metrics: [psnr, spectrum, generalization-gap]}
"""
    (tmp_path / "beside.yaml").write_text(suite)
    network = gahbench.create("architecture", "dncnn", width=4, layers=3)
    network.train()
    frozen = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d)).eval()
    results = gahbench.score(network, tmp_path / "beside.yaml", name="mine")
    assert network.training
    assert not frozen.training
    rows = results.leaderboard(full=True).set_index("entrant")
    assert set(rows.index) == {"mine", "identity", "optimal"}
    assert "not reproducible from a file" in rows.loc["mine", "note"]
    assert rows.loc["optimal", "psnr"] == rows["psnr"].max()
    assert rows.loc["mine", "spectrum.trace"] > 0
    assert rows.loc["mine", "deficit"] > 0
    assert not [name for name in rows.columns if name.startswith("generalization")]
    # The references have the same scores as in a run of the suite.
    entrants = ["identity", "optimal"]
    run = gahbench.run(tmp_path / "beside.yaml", out=tmp_path / "out", engine="inline", entrants=entrants)
    own = run.leaderboard(full=True).set_index("entrant")
    assert rows.loc[entrants, "psnr"].equals(own.loc[entrants, "psnr"])


def test_a_model_that_fails_has_a_row_without_scores():
    def broken(noisy, sigma):
        raise RuntimeError("no such kernel")

    with pytest.warns(UserWarning, match=r"model has no scores: .*no such kernel.* as_denoiser\(model, \"none\"\)"):
        results = gahbench.score(broken, "discs[size=8]", sigmas=[0.1], images=6, metrics=["psnr"])
    board = results.leaderboard(full=True)
    rows = board.set_index("entrant")
    assert "no such kernel" in rows.loc["model", "note"]
    assert rows.loc["identity", "rank"] > 0
    with pytest.raises(gahbench.GahbenchError, match=r"'dics.size=8.' is neither .* did you mean 'discs'. accepted: "):
        gahbench.score(broken, "dics[size=8]")
    with pytest.raises(ParameterError, match="any other name"):
        gahbench.score(broken, "discs[size=8]", name="identity")


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

    # The first level is 1 % above the geometric mean of two timesteps, and the others are out of range.
    for interpolate in (False, True):
        denoiser = gahbench.as_denoiser(network, scheduler=scheduler, interpolate=interpolate)
        denoiser(torch.zeros(3, 1, 2, 2), torch.tensor([1.01 * (1 / 9) ** 0.25 / 2, 100.0, 1e-6]))
    assert denoiser.noise_levels == pytest.approx((1 / 6, 1.5))
    assert seen == [[1, 2, 0], pytest.approx([0.5, 2.0, 0.0], abs=0.02)]
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
