import copy

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import gahbench
from gahbench._util.errors import SuiteError
from gahbench.contracts.truth import Truth
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import SuiteChanges, load_suite

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
    (note,) = reference.notes
    assert note.startswith("weights from w.safetensors (SHA-256 ")


def test_state_dicts_of_a_file_can_be_selected_and_are_noted(tmp_path):
    models = {name: network() for name in ("model", "ema")}
    with torch.no_grad():
        for parameter in models["model"].parameters():
            parameter.mul_(2)
    torch.save({name: model.state_dict() for name, model in models.items()}, tmp_path / "w.pt")
    noisy = torch.rand(2, 1, 9, 9)
    for given, name, note in (
        ({}, "ema", "part 'ema' (other parts of the file: part=model)"),
        ({"part": "model"}, "model", "part 'model' (other parts of the file: part=ema)"),
    ):
        reference = pretrained(tmp_path / "w.pt", **given)
        with torch.no_grad():
            expected = models[name](noisy, torch.ones(2))
        assert torch.allclose(denoise(reference, noisy), expected, atol=1e-6)
        assert note in reference.notes[0]


def test_a_copy_of_the_network_uses_the_copied_weights(file):
    """Jacobians in another precision are computed by a copy of the network in that precision."""
    reference = pretrained(file)
    noisy = torch.rand(1, 1, 9, 9, dtype=torch.float64)
    built = copy.deepcopy(reference.as_network((1, 9, 9))).double()
    with torch.no_grad():
        assert torch.allclose(built(noisy, torch.ones(1)), network().double()(noisy, torch.ones(1)), rtol=1e-12)


AFFINE = """
import torch, gahbench

@gahbench.hookimpl
def register_architectures(register):
    register("affine", Affine)

class Affine(torch.nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.factors = torch.nn.Parameter(torch.zeros(4))

    def forward(self, noisy, sigma):
        mean = torch.nn.functional.avg_pool2d(noisy, 5, stride=1, padding=2, count_include_pad=False)
        image, level, constant, local_mean = self.factors
        return image * noisy + level * sigma.view(-1, 1, 1, 1) + constant + local_mean * mean
"""


@pytest.fixture
def affine(tmp_path):
    """Return a function that creates a network with four weights: of the image, of sigma, of 1, and of a local mean."""
    (tmp_path / "plugin.py").write_text(AFFINE)

    def create(*numbers, **parameters):
        torch.save({"factors": torch.tensor(numbers)}, tmp_path / "w.pt")
        return pretrained(tmp_path / "w.pt", "affine", plugins=[tmp_path / "plugin.py"], **parameters)

    return create


def test_output_and_scale_adapt_the_network(affine):
    """With ``scale=255`` white is 255 for the network, so a constant of 51 adds 51 / 255."""
    noisy = torch.rand(2, 1, 5, 5)
    returned = 0.5 * noisy + 2 * 0.1 + 51 / 255
    for output, expected in (("image", returned), ("residual", noisy - returned)):
        reference = affine(0.5, 2.0, 51.0, 0.0, output=output, scale=255)
        assert torch.allclose(denoise(reference, noisy), expected, atol=1e-6)
        clipped = affine(0.5, 2.0, 51.0, 0.0, output=output, scale=255, clip=True)
        assert torch.allclose(denoise(clipped, noisy), expected.clamp(0, 1), atol=1e-6)
    assert expected.min() < 0


@pytest.mark.parametrize(("numbers", "output", "other"), [
    ((1.0, 0.0, 0.0, -1.0), "image", "residual"),
    ((1.0, 0.0, 0.0, -1.0), "residual", None),
    ((0.0, 0.0, 0.0, 1.0), "image", None),
    ((0.0, 0.0, 0.0, 1.0), "residual", "image"),
])  # fmt: skip
def test_a_note_reports_weights_that_return_the_noise(affine, numbers, output, other):
    reference = affine(*numbers, output=output)
    clean = gahbench.create("dataset", "faces", size=24).images("test", 8)
    generator = torch.Generator().manual_seed(0)
    for sigma in (0.1, 0.3):
        denoise(reference, clean + sigma * torch.randn(clean.shape, generator=generator), sigma)
    expected = f"returns what looks like the noise, not the image: output={other} may be meant"
    assert (expected in reference.notes) == (other is not None)


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


def test_a_list_of_checkpoints_is_a_grid(write_suite, builtin, file, tmp_path):
    (tmp_path / "v.safetensors").write_bytes(file.read_bytes())
    planned = plan(write_suite, builtin, f"[{file}, {tmp_path / 'v.safetensors'}]")
    assert [entrant.label[-15:-1] for entrant in planned.suite.entrants[:2]] == ["=w.safetensors", "=v.safetensors"]


def test_keys_depend_on_the_content_of_the_file(write_suite, builtin, file, tmp_path):
    def keys(path):
        return [unit.key for unit in plan(write_suite, builtin, path).units if unit.entrant != "identity"]

    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(file.read_bytes())
    before = keys(file)
    assert keys(moved) == before
    save_file(network(1).state_dict(), moved)
    assert not set(keys(moved)) & set(before)


@pytest.mark.usefixtures("figures_not_rendered")
def test_the_board_has_a_row_for_pretrained_weights(write_suite, file, tmp_path):
    suite = write_suite(text=SUITE.replace("FILE", str(file)).replace("images: 3", "images: 5"))
    done = gahbench.run(suite, tmp_path / "out", engine="inline")
    board = done.results.leaderboard(full=True).set_index("entrant")
    row = board.loc["bf-cnn[width=4,layers=3,checkpoint=w.safetensors]"]
    assert row["kind"] == "trained"
    assert row["rank"] in (1, 2)
    assert row["parameters"] == 220
    assert np.isnan(row["train_seconds"])
    assert pd.isna(row["seeds"])
    assert row["note"].startswith("weights from w.safetensors")
    images = gahbench.create("dataset", "discs[size=16]").images("test", 5)
    noisy = images + gahbench._util.noise.evaluation_noise(5, (1, 16, 16), 0.1, 0, "test")
    with torch.no_grad():
        error = (network()(noisy, torch.ones(5)) - images).double().square().mean((1, 2, 3))
    assert row["psnr@0.1"] == pytest.approx(float((-10 * error.log10()).mean()), abs=1e-5)


#: Prefixes of errors for weights that do not fit, and for invalid lines of the suite.
MISFIT, LINE = "on discs.*checkpoint w.safetensors for bf-cnn.*", "tiny.yaml:6: .*"


@pytest.mark.parametrize(("old", "new", "message"), [
    ("width: 4", "width: 5", MISFIT + r"'same', layers.0.weight has shape \(4, 1, 3, 3\), and \(5, 1, 3, 3\) in the n"),
    ("layers: 3", "layers: 4", MISFIT + "'same', it lacks layers.6.gain"),
    ("layers: 3", "layers: 3, keys: kair", MISFIT + "its keys are not those of 'kair': layers.0.weight"),
    ("FILE", "gone.pt", LINE + "checkpoint='gone.pt': no such file"),
    ("layers: 3", "layerz: 3", LINE + "unknown parameter 'layerz'; did you mean 'layers'"),
    ("layers: 3", "layers: 3, scale: 100", LINE + "scale=100"),
    ("checkpoint: FILE", "scale: 255", LINE + "unknown parameter 'scale'"),
])  # fmt: skip
def test_invalid_checkpoints_are_refused_before_the_run(write_suite, builtin, file, old, new, message):
    with pytest.raises(SuiteError, match=message):
        plan(write_suite, builtin, file, SUITE.replace(old, new))


def test_planning_refuses_image_sizes_that_the_network_refuses(write_suite, builtin, tmp_path):
    path = tmp_path / "w.pt"
    torch.save(gahbench.create("architecture", "unet", width=2, levels=5).state_dict(), path)
    text = SUITE.replace("bf-cnn: {width: 4, layers: 3,", "unet: {width: 2, levels: 5,")
    with pytest.raises(SuiteError, match="multiples of 32"):
        plan(write_suite, builtin, path, text)
