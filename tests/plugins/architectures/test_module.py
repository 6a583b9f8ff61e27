"""Networks from elsewhere: importable classes and functions, and the denoisers of deepinv."""

import pytest
import torch
from given_networks import images, untrained

from gahbench.registry.parameters import constructor_parameters, resolve
from gahbench.registry.spec import format_value, parse_spec
from gahbench_plugins.architectures.module import Deepinv, Module

SOURCE = '''
import torch
from torch import nn
from .helping import FACTOR

class Halves(nn.Module):
    """Half of what it gets."""

    def __init__(self, channels: int, factor: float = FACTOR):
        super().__init__()
        self.channels, self.factor = channels, factor

    def forward(self, images):
        assert images.shape[1] == self.channels
        return self.factor * images

class Conditional(nn.Module):
    def forward(self, images, noise_level=None):
        return images if noise_level is None else images + noise_level.view(-1, 1, 1, 1)

class Flag(nn.Module):
    def forward(self, images, flag=False):
        return images + 1 if flag is not False else images

class Map(nn.Module):
    def forward(self, images):
        return images[:, :-1] + images[:, -1:]

class Pair(nn.Module):
    def forward(self, images):
        return images, images

class Cells(nn.Module):
    """Needs sides that are multiples of 4."""

    def forward(self, images):
        return nn.functional.pixel_shuffle(nn.functional.pixel_unshuffle(images, 4), 4)

class Small(nn.Module):
    def forward(self, images):
        return images[..., 1:]

def sized(shape, factor=1.0):
    return Halves(shape[0], factor * shape[1])

def text():
    return "a text"
'''

PARAMETERS = [item for item in constructor_parameters(Module, "module") if item.name not in ("channels", "shape")]
NOISY, SIGMA = images(2, (1, 8, 8)), torch.tensor([0.1, 0.5])
LEVEL = SIGMA.view(-1, 1, 1, 1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An importable third-party package."""
    package = tmp_path / f"foreign_{tmp_path.name}"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helping.py").write_text("FACTOR = 0.5\n")
    (package / "nets.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return package


@pytest.fixture
def denoise(folder):
    def run(name, noisy=NOISY, **parameters):
        factory = name if ":" in name else f"{folder.name}.nets:{name}"
        return Module(1, tuple(noisy.shape[1:]), factory, **parameters).eval()(noisy, SIGMA)

    return run


@pytest.mark.parametrize(("name", "parameters", "expected"), [
    ("Halves", {}, NOISY / 2),
    ("Halves", {"arguments": {"factor": 0.25}}, NOISY / 4),
    ("Halves", {"arguments": {"factor": 0.25}, "output": "residual"}, 0.75 * NOISY),
    ("Halves", {"scale": 255}, NOISY / 2),
    ("sized", {}, 8 * NOISY),
    ("torch.nn:Identity", {}, NOISY),
    ("Conditional", {"scale": 255}, NOISY + LEVEL),
    ("Conditional", {"scale": 255, "output": "residual"}, -LEVEL.expand_as(NOISY)),
    ("Conditional", {"sigma": "argument"}, NOISY + LEVEL),
    ("Conditional", {"sigma": "none"}, NOISY),
    ("Flag", {}, NOISY),
    ("Map", {"sigma": "channel"}, NOISY + LEVEL),
])  # fmt: skip
def test_images_and_levels_are_converted_for_the_network_and_back(denoise, name, parameters, expected):
    torch.testing.assert_close(denoise(name, **parameters), expected, atol=1e-6, rtol=1e-6)


def test_images_are_padded_to_multiples_and_results_cropped(denoise):
    noisy = images(2, (1, 9, 14))
    assert torch.equal(denoise("Cells", noisy, multiple=4), noisy)
    with pytest.raises(RuntimeError):
        denoise("Cells", noisy)


@pytest.mark.parametrize("value", [1e-5, 3.0, "3", "it's, [so]", None, True, [1, 2], {"x": 1, "y": [2]}])
def test_a_label_is_read_back_as_the_same_arguments(value):
    resolved = resolve(tuple(PARAMETERS), {"factory": "a.b:C", "arguments": {"one": value, "two": 2}}, "module")
    text = f"module[{','.join(f'{name}={format_value(item)}' for name, item in resolved.items())}]"
    assert resolve(tuple(PARAMETERS), parse_spec(text).keywords, "module") == resolved


@pytest.mark.parametrize(("name", "parameters", "message"), [
    ("Halve", {}, "Halve"),
    ("Halves", {"arguments": {"fact": 1}}, r"'fact'; accepted: \(channels: int, factor"),
    ("text", {}, "returned a str"),
    ("Pair", {}, "returned a tuple"),
    ("Small", {}, r"returned shape \(2, 1, 8, 7\); accepted: shape \(2, 1, 8, 8\)"),
    ("no_such_package.nets:Net", {}, "no_such_package.*accepted: 'package.mod:name'"),
])  # fmt: skip
def test_errors_of_a_factory_are_reported(denoise, name, parameters, message):
    with pytest.raises(ValueError, match=message):
        denoise(name, **parameters)


def test_the_fingerprint_depends_on_the_source_code(folder):
    def current_fingerprint():
        return Module.fingerprint(factory=f"{folder.name}.nets:Halves", arguments=None)

    first = current_fingerprint()
    (folder / "helping.py").write_text("FACTOR = 0.25\n")
    second = current_fingerprint()
    assert second != first
    (folder / "unrelated.py").write_text("x = 1\n")
    assert current_fingerprint() == second


#: Arguments of small denoisers of deepinv by class name, and whether they use sigma.
SMALL = {
    "DRUNet": ({"nc": [4, 8, 16, 32], "nb": 1}, True),
    "DnCNN": ({"depth": 3, "nf": 8}, False),
    "GSDRUNet": ({"nc": [4, 8, 16, 32], "nb": 1}, True),
    "NCSNpp": ({"model_channels": 32, "channel_mult": [1, 1], "num_blocks": 1}, True),
    "Restormer": ({"dim": 8, "num_blocks": [1, 1, 1, 1]}, False),
    "SCUNet": ({"config": [1, 1, 1, 1, 1, 1, 1]}, False),
    "SwinIR": ({"embed_dim": 12, "depths": [1], "num_heads": [2]}, False),
    "UNet": ({"scales": 2}, False),
}


@pytest.mark.extras("deepinv")
@pytest.mark.parametrize("model", SMALL)
def test_a_denoiser_of_deepinv_gets_images_and_levels_unchanged(model, monkeypatch):
    def download(*arguments, **options):
        raise AssertionError(f"downloads {arguments}")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", download)
    arguments, uses_sigma = SMALL[model]
    shape, levels = (1, 32, 32), [torch.tensor([0.1, 0.3]), torch.tensor([0.1, 0.6])]
    network = untrained(Deepinv, shape, channels=1, model=model, arguments=arguments)
    # The last layers of some networks start at zero.
    for parameter in network.parameters():
        if not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.05)
    noisy = images(2, shape)
    first, second = (network(noisy, level).detach() for level in levels)
    torch.testing.assert_close(first, network.network(noisy, levels[0]).detach(), atol=1e-5, rtol=1e-4)
    assert torch.equal(first[:1], second[:1])
    assert torch.equal(first, second) != uses_sigma
    with torch.device("meta"):
        assert all(p.is_meta for p in Deepinv(1, shape, model, arguments).parameters())


@pytest.mark.extras("deepinv")
def test_the_jacobian_of_a_gradient_step_is_symmetric():
    noisy, sigma = images(1, (1, 32, 32)).double(), torch.tensor([0.1]).double()
    left, right = torch.randn(2, *noisy.shape, generator=torch.Generator().manual_seed(0)).double()
    for model, is_symmetric in (("GSDRUNet", True), ("DRUNet", False)):
        network = untrained(Deepinv, (1, 32, 32), channels=1, model=model, arguments=SMALL[model][0]).double()
        _, pull = torch.func.vjp(lambda y, network=network: network(y, sigma), noisy)
        first, second = (float((a * pull(b)[0]).sum().detach()) for a, b in ((right, left), (left, right)))
        assert (abs(first - second) < 1e-6 * (abs(first) + abs(second))) == is_symmetric


@pytest.mark.extras("deepinv")
@pytest.mark.parametrize(("model", "arguments", "message"), [
    ("DnCN", {}, "model=DnCN.*accepted: ADMUNet, "),
    ("MoDL", {}, "not a denoiser"),
    ("DnCNN", {"dept": 3}, "'dept'; accepted: .*depth"),
])  # fmt: skip
def test_names_and_arguments_that_deepinv_lacks_are_refused(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        Deepinv(1, None, model, arguments)
