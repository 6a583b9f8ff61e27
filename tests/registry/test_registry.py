"""The registry: sources of plugins, problems, specs and labels."""

import json
import sys
from pathlib import Path

import pytest
import torch

import gahbench
import gahbench_plugins
from gahbench._util.errors import PluginError
from gahbench.registry.registry import Registry, source_files
from gahbench.testing import check_file

HALF = """
import gahbench

@gahbench.hookimpl
def register_references(register):
    @register("half")
    class Half(gahbench.Reference):
        "Halves the image."
        def __init__(self, factor: float = 0.5):
            self.factor = factor
        def denoise(self, noisy, sigma, truth):
            return self.factor * noisy
"""


DENOISE = "def denoise(self, noisy, sigma, truth): return noisy\n"


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_plugins_are_loaded_from_a_file_and_from_a_folder(tmp_path):
    file = write(tmp_path, "half.py", HALF)
    for source in (file, tmp_path):
        plugin = Registry((source,)).get("reference", "half")
        assert plugin.origin == str(file)
        assert plugin.summary == "Halves the image."
        assert plugin.factory(2.0).factor == 2.0


def test_plugins_are_loaded_from_an_entry_point(tmp_path, monkeypatch):
    write(tmp_path, "half_by_package.py", HALF)
    info = tmp_path / "half_package-1.0.dist-info"
    write(info, "METADATA", "Metadata-Version: 2.1\nName: half-package\nVersion: 1.0\n")
    write(info, "entry_points.txt", "[gahbench]\nhalf = half_by_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert Registry().get("reference", "half").origin == "package 'half-package'"


def test_a_plugin_with_a_registered_name_is_a_problem(tmp_path):
    second = '    register("half-too", "gahbench_plugins.references.identity:Identity")\n'
    text = HALF.replace("half", "identity")
    file = write(tmp_path, "again.py", text.replace("(register):\n", "(register):\n" + second))
    registry = Registry((file,))
    assert registry.get("reference", "identity").is_built_in
    assert registry.get("reference", "half-too").origin == str(file)
    (problem,) = registry.problems
    assert problem.origin == str(file)
    for part in ("reference 'identity'", str(file), "built-in"):
        assert part in problem.error
    with pytest.raises(PluginError, match=r"again.py: cannot be loaded: .*registered twice"):
        check_file(file)


REGISTERS = "import gahbench\n@gahbench.hookimpl\ndef register_metrics(register): register({})\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n1 / 0\n", "ZeroDivisionError: division by zero (FILE:2)"),
        ("x = 1\ndef (:\n", "SyntaxError: invalid syntax (broken.py, line 2)"),
        ("raise SystemExit(3)\n", "SystemExit: 3 (FILE:1)"),
        (REGISTERS.format("'m', int").replace("metrics", "metric"), "register_metric"),
        (REGISTERS.format("'m', 3"), "TypeError: register('m', 3): accepted: a name, a class or 'module:Class'"),
        (REGISTERS.format("'m', __import__('functools').partial(int)"), "accepted: a name, a class or"),
        (REGISTERS.format("'m[a=1]', int"), "register('m[a=1]', <class 'int'>): accepted: a name"),
        ("raise ValueError('one\\ntwo')\n", "ValueError: one two"),
        ("import gahbench\ngahbench.create('basis', 'unheard-of')\n", "unknown basis 'unheard-of'"),
        ("import math\nfrom _helps import x\n", "NameError: name 'y' is not defined (HELPER:3)"),
    ],
)
def test_a_broken_plugin_is_a_problem_and_other_plugins_still_work(tmp_path, text, message):
    broken, helper = write(tmp_path, "broken.py", text), tmp_path / "_helps.py"
    if helper.stem in text:
        helper.write_text("\n\nx = y\n")
    write(tmp_path, "good.py", HALF)
    registry = Registry((tmp_path,))
    (problem,) = registry.problems
    assert problem.origin == str(broken)
    assert message.replace("FILE", str(broken)).replace("HELPER", str(helper)) in problem.error
    assert "\n" not in problem.error
    assert "half" in registry.names("reference")
    with pytest.raises(PluginError, match="failed to load"):
        registry.get("reference", "missing")
    with pytest.raises(PluginError, match=r"broken.py: cannot be loaded: "):
        Registry((broken,)).require_files()


def test_labels_are_canonical(builtin):
    def label(kind, text):
        return builtin.configure(kind, text).label

    assert label("reference", "oracle-threshold") == label("reference", "oracle-threshold[basis=sym4]")
    assert label("reference", "oracle-threshold[sym4]") == "oracle-threshold[sym4]"
    assert label("architecture", "unet[levels=3,width=16]") == "unet[width=16]"
    assert label("reference", "oracle-shrink[wavelet[db4,levels=2]]") == "oracle-shrink[wavelet[db4,levels=2]]"


def test_an_edited_helper_is_imported_again(tmp_path):
    helper = write(tmp_path, "_again.py", "FACTOR = 0.25\n")
    text = "from _again import FACTOR\n" + HALF.replace("float = 0.5", "float = FACTOR")
    file = write(tmp_path, "uses_again.py", text)
    assert Registry((file,)).create("reference", "half").factor == 0.25
    helper.write_text("FACTOR = 0.125\n")
    assert Registry((file,)).create("reference", "half").factor == 0.125


def test_a_plugin_file_with_the_name_of_a_library_has_its_own_helpers(tmp_path):
    write(tmp_path, "_answers.py", "ANSWER = 42\n")
    file = write(tmp_path, "torch.py", "import torch\nfrom _answers import ANSWER\n")
    assert "_answers" in source_files(file)
    assert Registry((file,), packages=()).problems == []
    assert sys.modules["torch"] is torch


def test_files_of_claims_of_one_name_and_other_files_are_problems(tmp_path):
    text = (Path(gahbench_plugins.__file__).parent / "claims" / "miyasawa-1961.yaml").read_text(encoding="utf-8")
    files = []
    for name in "ab":
        (tmp_path / name).mkdir()
        files.append(write(tmp_path / name, "mine-2026.yaml", text))
    problems = Registry((*files, write(tmp_path, "mine.toml", "")), packages=()).problems
    assert ["registered twice" in problems[0].error, "which ends in .py" in problems[1].error] == [True, True]


def test_helpers_with_the_same_name_in_two_folders_are_refused(tmp_path):
    for folder, factor in (("one", 0.5), ("two", 0.9)):
        write(tmp_path / folder, "_shared.py", f"FACTOR = {factor}\n")
        text = "from _shared import FACTOR\n" + HALF.replace("half", f"half-{folder}")
        write(tmp_path / folder, f"plugin_{folder}.py", text)
    registry = Registry((tmp_path / "one", tmp_path / "two"))
    assert "half-one" in registry.names("reference")
    (problem,) = registry.problems
    assert "'_shared' would be imported from" in problem.error


@pytest.mark.parametrize(("text", "error"), [("def (:\n", "SyntaxError"), ("1 / 0\n", "ZeroDivisionError")])
def test_a_lazy_plugin_that_cannot_be_imported_is_listed(tmp_path, monkeypatch, text, error):
    write(tmp_path, f"lazy_{error}.py", text)
    monkeypatch.syspath_prepend(str(tmp_path))
    file = write(tmp_path / "p", "lazy.py", REGISTERS.format(f"'lazy', 'lazy_{error}:Lazy'"))
    plugin = Registry((file,)).get("metric", "lazy")
    assert isinstance(plugin.summary, str)
    with pytest.raises(PluginError, match=error):
        _ = plugin.parameters


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_class_without_a_constructor_has_no_parameters(write_class, monkeypatch, is_replaced):
    if is_replaced:
        original = torch.nn.Module.__init__
        # torch.compile replaces the constructor like this, until the process ends.
        monkeypatch.setattr(torch.nn.Module, "__init__", lambda self, *args, **keys: original(self, *args, **keys))
    file = write_class("architecture", "def forward(self, noisy, sigma): return noisy", "plain")
    assert Registry((file,)).get("architecture", "plain").parameters == ()


def test_explicit_defaults_give_the_same_identity_and_label(write_class):
    parameters = "width: float = 1, sizes: tuple[float, ...] = (1, 2), name: str | None = None"
    registry = Registry((write_class("reference", f"def __init__(self, {parameters}): ...\n{DENOISE}", "whole"),))
    plain = registry.configure("reference", "whole")
    again = registry.configure("reference", "whole", **plain.parameters)
    assert json.dumps(plain.identity) == json.dumps(again.identity)
    assert plain.label == again.label == "whole"
    assert plain.parameters == {"width": 1.0, "sizes": (1.0, 2.0), "name": None}


QUARTER = """
def __init__(self, inner: Annotated[gahbench.Reference, gahbench.Names("reference", default="half")]):
    gahbench.create("reference", "identity")
    self.inner = inner

def denoise(self, noisy, sigma, truth):
    return self.inner.denoise(noisy, sigma, truth) / 2
"""


def test_registries_do_not_share_plugins(write_class, tmp_path):
    write_class("reference", QUARTER, "quarter", head="from typing import Annotated")
    write(tmp_path, "half6.py", HALF)
    reports = check_file(tmp_path)
    assert [report.label for report in reports] == ["half", "quarter"]
    assert all(report.passed for report in reports), "\n".join(map(str, reports))
    ours, theirs = Registry((tmp_path,)), Registry()
    configured = ours.configure("reference", "cycle-spin[half,shifts=1]")
    assert "half" not in theirs.names("reference")
    gahbench.create("reference", "identity")
    assert type(configured.build().references[0]).__name__ == "Half"
