"""Conversion of models with other conventions to denoisers, compared with closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_timesteps_are_the_nearest_or_interpolated():
    products = torch.tensor([0.9, 0.5, 0.1])
    seen = []

    def network(images, times):
        seen.append(times)
        return torch.zeros_like(images)

    levels = ((1 - products) / products).sqrt()
    between = torch.tensor([float((levels[0] * levels[1]).sqrt()) * 1.01, 100.0, 1e-6])
    for interpolate in (False, True):
        gahbench.as_denoiser(network, "timestep", (0, 1), "eps", products, interpolate)(
            torch.zeros(3, 1, 2, 2), between
        )
    assert seen[0].tolist() == [1, 2, 0]
    assert seen[1].tolist() == pytest.approx([0.5, 2.0, 0.0], abs=0.02)


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


def test_the_optimum_of_gaussian_images_ranks_first():
    dataset = gahbench.create("dataset", "gaussian-field", size=8)

    def optimum(noisy, sigma):
        return dataset.posterior(noisy, float(sigma[0])).mean.float()

    results = gahbench.score(optimum, "gaussian-field[size=8]", sigmas=[0.1, 0.3], images=16, metrics=["psnr"])
    board = results.leaderboard(full=True).set_index("entrant")
    assert board.loc["model", "rank"] == 1
    assert "not reproducible from a file" in board.loc["model", "note"]
    assert math.isclose(board.loc["identity", "psnr@0.1"], 20, abs_tol=1e-6)
    assert set(board.index) == {"model", "identity", "bayes-shrink[sym4]", "oracle-threshold[sym4]"}


def test_a_model_is_scored_with_the_references_of_a_suite(tmp_path):
    suite = """
name: beside
datasets: [{sinusoids: {size: 8}}, {gaussian-field: {size: 8}}]
entrants: [{unet: {width: 4, levels: 1}}, identity, optimal, {oracle-threshold: {basis: haar}}]
baseline: oracle-threshold[haar]
training: {steps: 1}
scoring: {sigmas: [0.1, 0.3], images: 4, metrics: [psnr, spectrum, generalization-gap]}
"""
    (tmp_path / "beside.yaml").write_text(suite)
    network = gahbench.create("architecture", "dncnn", width=4, layers=3)
    network.train()
    frozen = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d)).eval()
    results = gahbench.score(network, tmp_path / "beside.yaml", name="mine")
    assert network.training
    assert not frozen.training
    board = results.leaderboard(full=True)
    assert set(board["entrant"]) == {"mine", "identity", "optimal", "oracle-threshold[haar]"}
    assert len(board) == 8
    rows = board.set_index(["dataset", "entrant"])
    assert rows.loc[("sinusoids[size=8]", "mine"), "spectrum.trace"] > 0
    assert rows.loc[("sinusoids[size=8]", "mine"), "deficit"] > 0
    assert not [name for name in board.columns if name.startswith("generalization")]
    # The references have the same scores as in a run of the suite.
    run = gahbench.run(tmp_path / "beside.yaml", out=tmp_path / "out", engine="inline")
    own = run.leaderboard(full=True).set_index(["dataset", "entrant"])
    for key in rows.index:
        if key[1] != "mine":
            assert rows.loc[key, "psnr"] == own.loc[key, "psnr"]


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
