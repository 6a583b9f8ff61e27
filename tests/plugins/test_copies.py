"""Files of built-in plugins that are copied to a folder of a user, and plugins whose packages are absent."""

import ast
import importlib.metadata
import sys
from collections import defaultdict
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from small_plugins import extras, small

import gahbench
import gahbench_plugins
from gahbench.registry.configured import HOOKS

SHAPE, SIGMA = (1, 16, 16), 0.1
#: Parameters of constructors that make datasets small, or name what must exist.
PARAMETERS = {
    **{name: {"size": 16} for name in ("c-alpha", "discs", "gaussian-field", "simulated-captures")},
    "dask": {"scheduler": "tcp://127.0.0.1:9"},
}


def plugin_files():
    """Return the kind of plugins of each registered file, and their classes by name."""
    files = defaultdict(dict)
    for kind, hook in HOOKS.items():
        if kind == "claim":
            continue

        def register(name, target, /, kind=kind, **parameters):
            module, _, item = target.partition(":")
            files[kind, module].setdefault(item, name)

        getattr(gahbench_plugins, hook)(register)
    return files


FILES = plugin_files()


def source(module):
    parts = module.split(".")[1:]
    return Path(gahbench_plugins.__file__).with_name(parts[0]).joinpath(f"{parts[1]}.py").read_text(encoding="utf-8")


def private_imports(text):
    """Return the modules with private names, and the relative imports, of a file."""
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom | ast.Import)]
    names = []
    for node in imports:
        start = f"{'.' * node.level}{node.module}." if isinstance(node, ast.ImportFrom) else ""
        names += [start + alias.name for alias in node.names if node.__dict__.get("module") != "__future__"]
    return [name for name in names if name.startswith(".") or "._" in name]


PUBLIC = [key for key in FILES if not private_imports(source(key[1]))]


def test_at_least_four_of_five_files_import_public_modules_only():
    private = sorted(module for _, module in set(FILES) - set(PUBLIC))
    assert len(PUBLIC) >= 0.8 * len(FILES), f"{len(PUBLIC)} of {len(FILES)} files; with private imports: {private}"


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """A registry of the copied files."""
    folder = tmp_path_factory.mktemp("mine")
    for kind, module in PUBLIC:
        lines = "".join(f"    register('my-{name}', {item})\n" for item, name in FILES[kind, module].items())
        hook = f"\n\nimport gahbench\n\n\n@gahbench.hookimpl\ndef {HOOKS[kind]}(register):\n{lines}"
        (folder / f"{kind}_{module.rpartition('.')[2]}.py").write_text(source(module) + hook, encoding="utf-8")
    registry = gahbench.Registry((folder,))
    assert not registry.problems
    return registry


def results(registry, kind, name, parameters):
    """Return images that a plugin denoises, draws or analyses."""
    configured = registry.configure(kind, name, **parameters)
    torch.manual_seed(0)
    clean = gahbench.create("dataset", "gaussian-field", size=16).images("test", 2)
    noisy = clean + SIGMA * torch.randn(clean.shape)
    if kind == "architecture":
        with torch.no_grad():
            return configured.build(SHAPE).eval()(noisy, torch.full((2,), SIGMA))
    plugin = configured.build()
    if kind == "dataset":
        return plugin.images("test", 1)
    if kind not in ("basis", "reference"):
        return torch.zeros(1)
    family = "c-alpha" if name.endswith("lower-bound") or "true-" in name else "gaussian-field"
    dataset = gahbench.create("dataset", family, size=16)
    assert plugin.supports(dataset)
    truth = gahbench.Truth(dataset.images("test", 2), dataset, "test")
    plugin.fit(gahbench.TrainingData(dataset))
    if kind == "reference":
        return plugin.denoise(noisy, SIGMA, truth)
    return plugin.adapt_to(truth, SIGMA).analysis(noisy)


@pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param(key[0], name, marks=extras(name)) for key in PUBLIC for name in FILES[key].values()],
)
def test_a_copy_equals_the_built_in_plugin(copies, builtin, tmp_path, kind, name):
    parameters = PARAMETERS.get(name) or small(name, tmp_path)
    copied, original = copies.get(kind, f"my-{name}"), builtin.get(kind, name)
    assert [parameter.name for parameter in copied.parameters] == [each.name for each in original.parameters]
    result, expected = (results(copies, kind, f"{start}{name}", parameters) for start in ("my-", ""))
    assert torch.equal(result, expected)


@pytest.mark.parametrize(("kind", "spec", "package"), [
    ("dataset", "hf-dataset[owner/name]", "datasets"), ("dataset", "torchvision", "torchvision"),
    ("reference", "bm3d", "deepinv"), ("metric", "lpips", "pyiqa"), ("metric", "dists", "pyiqa"),
    ("engine", "slurm", "submitit"), ("engine", "dask[tcp://head:8786]", "distributed"),
    ("tracker", "tensorboard", "tensorboard"), ("tracker", "wandb", "wandb"),
])  # fmt: skip
def test_a_plugin_names_its_missing_extra(builtin, monkeypatch, kind, spec, package):
    name = spec.partition("[")[0]
    extra = "pyiqa" if package == "pyiqa" else name
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setattr(importlib.metadata, "version", Mock(side_effect=importlib.metadata.PackageNotFoundError))
    with pytest.raises(gahbench.GahbenchError, match=rf"pip install ['\"]gahbench\[{extra}\]['\"]"):
        builtin.create(kind, spec)
