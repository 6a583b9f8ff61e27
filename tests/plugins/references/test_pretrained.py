"""References that are networks: weights of a file, of each noise level, of a start, and published weights."""

import pytest
import torch
from constructing import construct
from isolation import real_data
from safetensors.torch import save_file
from tiny_runs import plan_suite

import gahbench
from gahbench._util.errors import SuiteError
from gahbench.contracts.truth import Truth
from gahbench.networks.initialisation import build_network
from gahbench_plugins.references.network import Untrained

SUITE = """
name: tiny
datasets:
  - discs: {size: 16}
entrants:
  - bf-cnn: {width: 4, layers: 3, checkpoint: FILE}
  - identity
scoring: {sigmas: [0.1, 0.3], images: 3}
"""


def network(seed=0):
    torch.manual_seed(seed)
    result = gahbench.create("architecture", "bf-cnn", width=4, layers=3).eval()
    # The last layer of an untrained network is close to 0.
    result.layers[-1].weight.data.mul_(100)
    return result


def save(path, seed=0):
    save_file(network(seed).state_dict(), path)
    return path


@pytest.fixture
def file(tmp_path):
    return save(tmp_path / "w.safetensors")


def pretrained(file, architecture="bf-cnn[width=4,layers=3]", **parameters):
    return gahbench.create("reference", "pretrained", architecture=architecture, checkpoint=str(file), **parameters)


def denoise(reference, noisy, sigma=0.1):
    reference = gahbench.create("reference", reference) if isinstance(reference, str) else reference
    return reference.denoise(noisy, sigma, Truth(torch.full_like(noisy, torch.nan)))


def plan(write_suite, file, text=SUITE, extra=()):
    return plan_suite(write_suite(text=text.replace("FILE", str(file))), entrants=extra)


@pytest.mark.parametrize(("prefix", "stated"), [
    ("layers.", ""), ("denoiser.layers.", "denoiser."), ("model.net.layers.", "model.net."), ("model.net.", ""),
])  # fmt: skip
def test_a_prefix_that_is_removed_from_the_names_in_a_file_is_stated(tmp_path, prefix, stated):
    state = {name.replace("layers.", prefix): value for name, value in network().state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    reference = pretrained(tmp_path / "w.safetensors")
    denoise(reference, torch.rand(1, 1, 8, 8))
    (note,) = reference.notes
    assert note.partition("without the prefix ")[2].partition(" of")[0] == (stated and f"'{stated}'")


def test_pretrained_is_the_network_with_the_weights_of_the_file(file):
    noisy = torch.rand(3, 1, 11, 12)
    reference = pretrained(file)
    assert reference.kind == "trained"
    with torch.no_grad():
        expected = network()(noisy, torch.ones(3))
    assert (expected - noisy).norm() > 0.01 * noisy.norm()
    assert torch.allclose(denoise(reference, noisy), expected, atol=1e-6)
    assert reference.num_parameters == 4 * 9 + 4 * 4 * 9 + 4 + 4 * 9
    # For ``scale=255`` white is 255, and the network is homogeneous.
    for given, result in (
        ({"scale": 255}, expected),
        ({"output": "residual"}, noisy - expected),
        ({"output": "residual", "clip": True}, (noisy - expected).clamp(0, 1)),
    ):
        assert torch.allclose(denoise(pretrained(file, **given), noisy), result, atol=1e-6)
    (note,) = reference.notes
    assert note.startswith("weights from w.safetensors (SHA-256 ")


def test_averaged_weights_of_a_file_are_used_and_noted(tmp_path):
    models = {name: network() for name in ("model", "ema")}
    with torch.no_grad():
        for parameter in models["model"].parameters():
            parameter.mul_(2)
    torch.save({name: model.state_dict() for name, model in models.items()}, tmp_path / "w.pt")
    noisy = torch.rand(2, 1, 9, 9)
    reference = pretrained(tmp_path / "w.pt")
    with torch.no_grad():
        expected = models["ema"](noisy, torch.ones(2))
    assert torch.allclose(denoise(reference, noisy), expected, atol=1e-6)
    assert "weights from 'ema' of w.pt" in reference.notes[0]


def test_an_architecture_with_a_checkpoint_is_the_same_entrant_as_pretrained(write_suite, file):
    long = f"pretrained['bf-cnn[width=4,layers=3]',checkpoint={file}]"
    planned = plan(write_suite, file, extra=(long, f"bf-cnn[4,3,checkpoint={file}]"))
    label = "bf-cnn[width=4,layers=3,checkpoint=w.safetensors]"
    assert [entrant.label for entrant in planned.suite.entrants] == [label, "identity"]
    assert not planned.fits
    other = plan(write_suite, file, extra=(f"bf-cnn[4,3,checkpoint={file},keys=same,scale=255]",))
    assert other.suite.entrants[-1].label == label.replace("]", ",keys=same,scale=255]")
    unet = file.with_name("unet.pt")
    torch.save(gahbench.create("architecture", "mohan-unet").state_dict(), unet)
    plain = plan(write_suite, file, extra=(f"mohan-unet[checkpoint={unet}]",))
    assert plain.suite.entrants[-1].label == "mohan-unet[bias=false,checkpoint=unet.pt]"


@pytest.mark.parametrize(("old", "new", "name"), [
    ("width: 4", "width: 5", "layers.0.weight"),
    ("layers: 3", "layers: 3, keys: kair", "checkpoint w.safetensors for bf-cnn"),
    ("FILE", "gone.pt", "checkpoint='gone.pt'"),
    ("layers: 3", "layers: 3, scale: 100", "scale=100"),
    ("checkpoint: FILE", "scale: 255", "'scale'"),
])  # fmt: skip
def test_invalid_checkpoints_are_refused_before_the_run(write_suite, file, old, new, name):
    with pytest.raises(SuiteError) as error:
        plan(write_suite, file, SUITE.replace(old, new))
    assert name in str(error.value)


@pytest.mark.parametrize("initialisation", ["own", "kaiming"])
def test_untrained_is_the_network_at_the_start_of_training(initialisation):
    architecture, noisy = "bf-cnn[width=6,layers=4]", torch.rand(2, 1, 8, 8)
    start = build_network(
        lambda: gahbench.create("architecture", architecture, shape=(1, 8, 8)), 3, initialisation
    ).eval()
    reference = construct(Untrained, architecture, seed=3, initialisation=initialisation)
    with torch.no_grad():
        torch.testing.assert_close(denoise(reference, noisy), start(noisy, torch.full((2,), 0.1)))
    # The expected Jacobian is computed row by row, by backward passes.
    result = reference.jacobian(noisy, 0.1, Truth(noisy)).matrices()
    for image, matrix in zip(noisy, result, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda y: start(y[None], torch.full((1,), 0.1))[0], image)
        torch.testing.assert_close(matrix, jacobian.reshape(64, 64), atol=1e-5, rtol=1e-4)


LEVELS, NOISY = (15, 25, 50), torch.rand(3, 1, 12, 10, generator=torch.Generator().manual_seed(0))


def by_level(references, levels=LEVELS):
    return gahbench.create("reference", "by-level", references=list(references), levels=list(levels))


@pytest.fixture
def specs(tmp_path):
    """Write the weights of a network for each level, and return their specs."""
    files = [save(tmp_path / f"{level}.safetensors", level) for level in LEVELS]
    return [f"pretrained['bf-cnn[width=4,layers=3]',checkpoint={file}]" for file in files]


def test_the_network_of_the_nearest_level_denoises_and_other_levels_are_noted(specs):
    reference = by_level([specs[index] for index in (2, 0, 1)], [LEVELS[index] for index in (2, 0, 1)])
    for level, index in ((15, 0), (25, 1), (50, 2), (1, 0), (19.9, 0), (20, 0), (20.1, 1), (37.6, 2), (200, 2)):
        assert torch.equal(denoise(reference, NOISY, level / 255), denoise(specs[index], NOISY, level / 255))
        # Notes name the other levels so far.
        assert any("nearest" in note for note in reference.notes) == (level not in LEVELS)
        assert level in LEVELS or any(f"{level:g} of 255" in note or f"{level:g}," in note for note in reference.notes)
    assert reference.num_parameters == 3 * sum(parameter.numel() for parameter in network().parameters())


def test_the_kind_is_classical_if_all_references_are(specs):
    tuned = ["tv[weight=0.05]", "tv[weight=0.2]"]
    reference = by_level(tuned, [15, 50])
    assert (reference.kind, reference.num_parameters) == ("classical", None)
    assert torch.equal(denoise(reference, NOISY, 50 / 255), denoise(tuned[1], NOISY, 50 / 255))
    assert by_level([tuned[0], specs[0]], [15, 50]).kind == by_level(specs).kind == "trained"


DATA = real_data()
#: PSNR in dB on Cameraman, the first image of Set12, as published (Zhang et al. 2017, table II; Zhang et al. 2018).
GREY = [
    ("dncnn[layers=17,norm=false]", "dncnn_15.pth", 15, 32.61),
    ("dncnn[layers=17,norm=false]", "kair_dncnn_25.pth", 25, 30.18),
    ("dncnn[layers=17,norm=false]", "dncnn_50.pth", 50, 27.03),
    ("dncnn[layers=20,norm=false]", "dncnn_gray_blind.pth", 25, 29.94),
    ("ffdnet[norm=false]", "ffdnet_gray.pth", 25, 30.10),
]
#: Minimum PSNR in dB on a corner of the first image of CBSD68, with input PSNR of 24.6, 20.2 and 14.1 dB.
COLOUR = [
    ("dncnn[layers=20,norm=false]", "cdncnn_15.pth", 15, 30.9),
    ("dncnn[layers=20,norm=false]", "cdncnn_25.pth", 25, 28.1),
    ("dncnn[layers=20,norm=false]", "cdncnn_50.pth", 50, 25.0),
    ("dncnn[layers=20,norm=false]", "dncnn_color_blind.pth", 25, 28.0),
    ("ffdnet[width=96,layers=12,norm=false]", "ffdnet_color.pth", 25, 27.9),
]


def photograph(name, colour):
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} does not exist")
    whole = gahbench.create("dataset", "whole", path=str(DATA / name), colour=colour)
    return whole.of_shape(whole.shape).images("test", 1)


def psnr(architecture, weights, clean, level):
    file = DATA / "weights" / weights
    if not file.exists():
        pytest.skip(f"{file} does not exist")
    reference, sigma = pretrained(file, architecture), level / 255
    noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    error = (denoise(reference, noisy, sigma) - clean).square().mean()
    return float(-10 * error.log10())


@pytest.mark.parametrize(("architecture", "weights", "level", "published"), GREY, ids=[row[1] for row in GREY])
def test_grey_weights_have_their_published_psnr(architecture, weights, level, published):
    assert psnr(architecture, weights, photograph("set12.npz", "mean"), level) == pytest.approx(published, abs=0.15)


@pytest.mark.parametrize(("architecture", "weights", "level", "min_psnr"), COLOUR, ids=[row[1] for row in COLOUR])
def test_colour_weights_denoise(architecture, weights, level, min_psnr):
    assert psnr(architecture, weights, photograph("cbsd68.npz", "rgb")[..., :160, :160], level) > min_psnr


def test_a_bias_free_network_generalizes_to_higher_noise_and_a_network_with_bias_fails():
    """Compare networks trained on sigma from 0 to 30/255, at 20/255 and at 100/255."""
    clean = photograph("bsd68.npz", "mean")[..., 100:164, 150:214]
    free, biased = (
        [psnr(f"dncnn[bias={bias}]", weights, clean, level) for level in (20, 100)]
        for bias, weights in (("false", "bf_dncnn_0-30.pt"), ("true", "dncnn_0-30.pt"))
    )
    assert abs(free[0] - biased[0]) < 0.5
    assert free[1] > biased[1] + 7
