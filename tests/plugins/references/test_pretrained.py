"""References that are networks: architectures with weights from a file, or with the weights of a start."""

import pytest
import torch
from constructing import construct
from safetensors.torch import save_file

import gahbench
from gahbench._util.errors import SuiteError
from gahbench.contracts.truth import Truth
from gahbench.networks.initialisation import build_network
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import SuiteChanges, load_suite
from gahbench_plugins.references.network import Untrained

NETWORK = {"width": 4, "layers": 3}
SUITE = """
name: tiny
datasets:
  - discs: {size: 16}
entrants:
  - bf-cnn: {width: 4, layers: 3, checkpoint: FILE}
  - identity
scoring: {sigmas: [0.1, 0.3], images: 3}
"""


def network(seed=0, **parameters):
    torch.manual_seed(seed)
    result = gahbench.create("architecture", "bf-cnn", **{**NETWORK, **parameters}).eval()
    # The last layer of an untrained network is close to 0.
    result.layers[-1].weight.data.mul_(100)
    return result


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(network().state_dict(), path)
    return path


def pretrained(file, architecture="bf-cnn[width=4,layers=3]", **parameters):
    return gahbench.create("reference", "pretrained", architecture=architecture, checkpoint=str(file), **parameters)


def denoise(reference, noisy, sigma=0.1):
    return reference.denoise(noisy, sigma, Truth(torch.full_like(noisy, torch.nan)))


def plan(write_suite, builtin, file, text=SUITE, extra=()):
    return make_plan(load_suite(write_suite(text=text.replace("FILE", str(file))), builtin, SuiteChanges(extra)))


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


def test_an_architecture_with_a_checkpoint_is_the_same_entrant_as_pretrained(write_suite, builtin, file):
    long = f"pretrained['bf-cnn[width=4,layers=3]',checkpoint={file}]"
    planned = plan(write_suite, builtin, file, extra=(long, f"bf-cnn[4,3,checkpoint={file}]"))
    label = "bf-cnn[width=4,layers=3,checkpoint=w.safetensors]"
    assert [entrant.label for entrant in planned.suite.entrants] == [label, "identity"]
    assert not planned.fits
    other = plan(write_suite, builtin, file, extra=(f"bf-cnn[4,3,checkpoint={file},keys=same,scale=255]",))
    assert other.suite.entrants[-1].label == label.replace("]", ",keys=same,scale=255]")
    unet = file.with_name("unet.pt")
    torch.save(gahbench.create("architecture", "mohan-unet").state_dict(), unet)
    plain = plan(write_suite, builtin, file, extra=(f"mohan-unet[checkpoint={unet}]",))
    assert plain.suite.entrants[-1].label == "mohan-unet[bias=false,checkpoint=unet.pt]"


@pytest.mark.parametrize(("old", "new", "name"), [
    ("width: 4", "width: 5", "layers.0.weight"),
    ("layers: 3", "layers: 3, keys: kair", "checkpoint w.safetensors for bf-cnn"),
    ("FILE", "gone.pt", "checkpoint='gone.pt'"),
    ("layers: 3", "layers: 3, scale: 100", "scale=100"),
    ("checkpoint: FILE", "scale: 255", "'scale'"),
])  # fmt: skip
def test_invalid_checkpoints_are_refused_before_the_run(write_suite, builtin, file, old, new, name):
    with pytest.raises(SuiteError) as error:
        plan(write_suite, builtin, file, SUITE.replace(old, new))
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
