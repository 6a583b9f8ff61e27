import warnings

import pytest
import torch
from given_networks import images
from torch import nn

from gahbench._util.errors import ParameterError
from gahbench.registry.parameters import constructor_parameters, resolve
from gahbench.registry.spec import format_value, parse_spec
from gahbench_plugins.architectures._arguments import as_text
from gahbench_plugins.architectures.module import Module

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

built = nn.Identity()
'''

PARAMETERS = [item for item in constructor_parameters(Module, "module") if item.name not in ("channels", "shape")]
NOISY, SIGMA = images(2, (1, 8, 8)), torch.tensor([0.1, 0.5])


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
def factory(folder):
    return lambda name: f"{folder.name}.nets:{name}"


def denoise(factory, channels=1, shape=(1, 8, 8), **parameters):
    return Module(channels, shape, factory, **parameters).eval()(NOISY, SIGMA)


def archive(path, network):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network), path)
    return str(path)


def test_a_factory_gets_its_arguments_and_the_image_shape(factory):
    assert torch.equal(denoise(factory("Halves")), NOISY / 2)
    assert torch.equal(denoise(factory("Halves"), arguments="{factor: 0.25}"), NOISY / 4)
    assert torch.equal(denoise(factory("sized")), 8 * NOISY)
    assert torch.equal(denoise("torch.nn:Identity"), NOISY)


def test_a_residual_is_subtracted_and_the_scale_undone(factory):
    assert torch.allclose(denoise(factory("Halves"), output="residual", arguments="{factor: 0.25}"), 0.75 * NOISY)
    assert torch.allclose(denoise(factory("Halves"), scale=255), NOISY / 2)
    level = SIGMA.view(-1, 1, 1, 1)
    assert torch.allclose(denoise(factory("Conditional"), scale=255), NOISY + level)
    assert torch.allclose(
        denoise(factory("Conditional"), scale=255, output="residual"), -level.expand_as(NOISY), atol=1e-6
    )


def test_images_are_padded_to_multiples_and_results_cropped(factory):
    noisy = images(2, (1, 9, 14))
    assert torch.equal(Module(1, (1, 9, 14), factory("Cells"), multiple=4)(noisy, SIGMA), noisy)
    with pytest.raises(RuntimeError):
        Module(1, (1, 9, 14), factory("Cells"))(noisy, SIGMA)


def test_sigma_is_passed_if_forward_accepts_it(factory):
    level = SIGMA.view(-1, 1, 1, 1)
    for sigma, expected in {"auto": NOISY + level, "argument": NOISY + level, "none": NOISY}.items():
        assert torch.equal(denoise(factory("Conditional"), sigma=sigma), expected)
    assert torch.equal(denoise(factory("Flag")), NOISY)
    assert torch.equal(denoise(factory("Map"), sigma="channel"), NOISY + level)


def test_arguments_have_a_canonical_text():
    written = ["{width: 32, depth: 2}", '{"depth": 2, "width": 32}', {"width": 32, "depth": 2}]
    assert {as_text(arguments) for arguments in written} == {"{depth: 2, width: 32}"}


@pytest.mark.parametrize("value", [1e-5, 3.0, "3", "it's, [so]", None, True, [1, 2], {"x": 1, "y": [2]}])
def test_a_label_is_read_back_as_the_same_arguments(value):
    given = {"factory": "a.b:C", "arguments": {"one": value, "two": 2}}
    resolved = resolve(tuple(PARAMETERS), given, "module")
    text = f"module[{','.join(f'{name}={format_value(item)}' for name, item in resolved.items())}]"
    assert resolve(tuple(PARAMETERS), parse_spec(text).keywords, "module") == resolved
    assert as_text(resolved["arguments"]) == as_text(given["arguments"])


@pytest.mark.parametrize("arguments", ["[1, 2]", "3", "{a: [", [1], 3, "{1: 2}"])
def test_arguments_that_are_not_a_mapping_are_refused(arguments):
    with pytest.raises(ParameterError, match=r"a mapping .*such as \{width: 32\}"):
        resolve(tuple(PARAMETERS), {"factory": "a:b", "arguments": arguments}, "module")


@pytest.mark.parametrize(("name", "parameters", "message"), [
    ("Halve", {}, "has no 'Halve'; did you mean 'Halves'"),
    ("Halves", {"arguments": "{fact: 1}"}, r"unexpected keyword argument 'fact'; accepted: \(channels: int, factor"),
    ("text", {}, "returned a str, not a torch.nn.Module"),
    ("built", {}, "a network already built"),
    ("torch", {}, "a module; accepted: a class or a function"),
    ("Pair", {}, "returned a tuple for images"),
    ("Small", {}, r"returned shape \(2, 1, 8, 7\) for images of shape \(2, 1, 8, 8\)"),
])  # fmt: skip
def test_errors_of_a_factory_are_reported(factory, name, parameters, message):
    with pytest.raises(ValueError, match=message):
        denoise(factory(name), **parameters)


def test_import_errors_are_reported(folder):
    with pytest.raises(ValueError, match=r"importing 'no_such_package.nets' failed: ModuleNotFoundError.*PYTHONPATH"):
        denoise("no_such_package.nets:Net")
    (folder / "broken.py").write_text("1 / 0\n")
    with pytest.raises(ValueError, match="failed: ZeroDivisionError"):
        denoise(f"{folder.name}.broken:Net")
    with pytest.raises(ValueError, match=r"accepted: 'package.mod:name', or a TorchScript archive"):
        denoise("nets.Net")


def test_an_archive_denoises_like_its_network(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
    path = archive(tmp_path / "net.pt", network)
    ours = Module(1, (1, 8, 8), path, output="residual")
    assert torch.allclose(ours(NOISY, SIGMA), NOISY - network(NOISY))
    assert sum(parameter.numel() for parameter in ours.parameters()) == sum(p.numel() for p in network.parameters())
    (ours(NOISY, SIGMA) - NOISY).square().mean().backward()
    assert all(parameter.grad is not None for parameter in ours.parameters())
    with pytest.raises(ValueError, match="an archive takes no arguments"):
        denoise(path, arguments="{width: 3}")


class Shifted(nn.Module):
    def forward(self, images: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return images + sigma.view(-1, 1, 1, 1)


def test_sigma_is_passed_to_an_archive_that_accepts_it(tmp_path):
    path = archive(tmp_path / "conditional.ts", Shifted())
    assert torch.equal(denoise(path), NOISY + SIGMA.view(-1, 1, 1, 1))


class Malicious:
    def __reduce__(self):
        return exec, ("raise SystemExit('it ran')",)


def test_a_file_that_is_not_an_archive_is_refused_and_not_run(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "weights.pt")
    torch.save({"weight": Malicious()}, tmp_path / "malicious.pt")
    for name in ("weights.pt", "malicious.pt"):
        with pytest.raises(ValueError, match="not a TorchScript archive"):
            denoise(str(tmp_path / name))
    with pytest.raises(ValueError, match="no such file"):
        denoise(str(tmp_path / "none.pt"))


def test_the_fingerprint_depends_on_the_source_code(folder, factory, tmp_path):
    def current_fingerprint():
        return Module.fingerprint(factory=factory("Halves"), arguments="{}")

    first = current_fingerprint()
    (folder / "helping.py").write_text("FACTOR = 0.25\n")
    second = current_fingerprint()
    assert second != first
    (folder / "unrelated.py").write_text("x = 1\n")
    assert current_fingerprint() == second
    first, other = (archive(tmp_path / f"{name}.pt", nn.Conv2d(1, 1, 1)) for name in ("one", "other"))
    assert Module.fingerprint(factory=first) != Module.fingerprint(factory=other)
