import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gahbench
from gahbench._util.errors import PluginError
from gahbench.registry.behaviour import behaviour_digest
from gahbench.registry.plugin import KINDS
from gahbench.registry.registry import Registry
from gahbench.testing import check_file

TWO_LINES = """
import gahbench

@gahbench.hookimpl
def register_references(register):
    @register("{name}")
    class Half(gahbench.Reference):
        "Halves the image."
        def __init__(self, factor: float = 0.5):
            self.factor = factor
        def denoise(self, noisy, sigma, truth):
            return self.factor * noisy
"""


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_built_in_plugins_come_through_the_same_hooks(builtin):
    assert builtin.problems == []
    assert "unet" in builtin.names("architecture")
    assert {plugin.origin for kind in KINDS for plugin in builtin.plugins(kind)} == {"built-in"}


def test_a_file_and_a_folder_are_doors(tmp_path):
    file = write(tmp_path, "half.py", TWO_LINES.format(name="half"))
    for source in (file, tmp_path):
        plugin = Registry((source,)).get("reference", "half")
        assert plugin.origin == str(file)
        assert plugin.summary == "Halves the image."
        assert plugin.build(plugin.factory, {"factor": 2.0}, {}).factor == 2.0


def test_an_entry_point_is_a_door(tmp_path, monkeypatch):
    write(tmp_path, "half_by_package.py", TWO_LINES.format(name="half"))
    info = tmp_path / "half_package-1.0.dist-info"
    write(info, "METADATA", "Metadata-Version: 2.1\nName: half-package\nVersion: 1.0\n")
    write(info, "entry_points.txt", "[gahbench]\nhalf = half_by_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert Registry().get("reference", "half").origin == "package 'half-package'"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("float = 0.5", "float = float('inf')", "reference 'half': the default factor=inf is not finite"),
        (
            '@register("half")',
            '@register("half", factor=float("nan"))',
            "accepted are finite values, not {'factor': nan}",
        ),
    ],
)
def test_values_that_are_not_finite_are_refused_by_name(tmp_path, old, new, says):
    file = write(tmp_path, "half.py", TWO_LINES.format(name="half").replace(old, new))
    with pytest.raises(PluginError) as error:
        Registry((file,)).configure("reference", "half")
    assert says in str(error.value)


def test_files_beside_a_plugin_can_be_imported(tmp_path):
    write(tmp_path, "_half_helper.py", "FACTOR = 0.25\n")
    text = TWO_LINES.format(name="half").replace(
        "import gahbench\n", "import gahbench\nfrom _half_helper import FACTOR\n"
    )
    write(tmp_path, "half2.py", text.replace("float = 0.5", "float = FACTOR"))
    assert Registry((tmp_path,)).create("reference", "half").factor == 0.25


def test_a_name_given_twice_costs_the_newcomer_that_plugin(tmp_path):
    second = '    register("half-too", "gahbench_plugins.references.identity:Identity")\n'
    text = TWO_LINES.format(name="identity")
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


def test_a_plugin_error_while_a_file_is_loaded_disables_nothing_else(tmp_path):
    write(tmp_path, "asks.py", "import gahbench\ngahbench.create('basis', 'unheard-of')\n")
    write(tmp_path, "half4.py", TWO_LINES.format(name="half"))
    registry = Registry((tmp_path,))
    (problem,) = registry.problems
    assert "unheard-of" in problem.error
    assert "half" in registry.names("reference")


@pytest.mark.parametrize(
    ("text", "says", "line"),
    [
        ("import no_such_package\n", "ModuleNotFoundError", 1),
        ("\n1 / 0\n", "ZeroDivisionError", 2),
        ("x = 1\ndef (:\n", "SyntaxError", 2),
        ("raise SystemExit(3)\n", "SystemExit", 1),
        (
            "import gahbench\n@gahbench.hookimpl\ndef register_architecture(register): ...\n",
            "register_architecture",
            None,
        ),
        ("import gahbench\n@gahbench.hookimpl\ndef register_metrics(register): register('m', 3)\n", "TypeError", 3),
        (
            "import gahbench\n@gahbench.hookimpl\ndef register_metrics(register): register('m[a=1]', int)\n",
            "register('m[a=1]', ...): accepted is a name alone",
            3,
        ),
        ("raise ValueError('one\\ntwo')\n", "ValueError: one two", 1),
        ("raise BaseException('boo')\n", "BaseException: boo", 1),
        ("raise GeneratorExit\n", "GeneratorExit", 1),
        (
            "class Mute(Exception):\n    def __str__(self):\n        raise RuntimeError\nraise Mute\n",
            "Mute, whose text cannot be had: RuntimeError",
            4,
        ),
    ],
)
def test_a_broken_plugin_is_recorded_and_harms_nothing(tmp_path, text, says, line):
    broken = write(tmp_path, "broken.py", text)
    write(tmp_path, "good.py", TWO_LINES.format(name="half"))
    registry = Registry((tmp_path,))
    (problem,) = registry.problems
    assert problem.origin == str(broken)
    assert says in problem.error
    assert "\n" not in problem.error
    assert (problem.line, "raised at" in problem.error) == (line, False)
    assert "half" in registry.names("reference")
    with pytest.raises(PluginError, match="failed to load"):
        registry.get("reference", "missing")


def test_an_error_in_a_file_beside_a_plugin_names_both(tmp_path):
    broken = write(tmp_path, "broken.py", "import math\nfrom _helps import x\n")
    helper = write(tmp_path, "_helps.py", "\n\nx = y\n")
    (problem,) = Registry((broken,)).problems
    assert problem.place == f"{broken}:2"
    assert problem.error == f"NameError: name 'y' is not defined (raised at {helper}:3)"
    helper.write_text("def (:\n")
    (problem,) = Registry((broken,)).problems
    assert problem.place == f"{broken}:2"
    assert problem.error == "SyntaxError: invalid syntax (_helps.py, line 1)"


def test_a_missing_source_is_an_error(tmp_path):
    with pytest.raises(PluginError, match="no such plugin file or folder"):
        Registry((tmp_path / "nowhere",))


def test_unknown_names_suggest_the_nearest(builtin):
    with pytest.raises(PluginError, match="did you mean 'unet'"):
        builtin.get("architecture", "unett")
    with pytest.raises(PluginError, match=r"basis=sym44: unknown basis .* did you mean 'sym4'"):
        builtin.configure("reference", "oracle-threshold[sym44]")


def test_labels_are_canonical(builtin):
    def label(kind, text):
        return builtin.configure(kind, text).label

    assert label("reference", "oracle-threshold") == label("reference", "oracle-threshold[basis=sym4]")
    assert label("reference", "oracle-threshold[sym4]") == "oracle-threshold[sym4]"
    assert label("architecture", "unet[levels=3,width=16]") == "unet[width=16]"
    assert label("reference", "oracle-shrink[wavelet[db4,levels=2]]") == "oracle-shrink[wavelet[db4,levels=2]]"


def test_a_changed_helper_is_imported_again(tmp_path):
    helper = write(tmp_path, "_again.py", "FACTOR = 0.25\n")
    text = "from _again import FACTOR\n" + TWO_LINES.format(name="half").replace("float = 0.5", "float = FACTOR")
    file = write(tmp_path, "uses_again.py", text)
    assert Registry((file,)).create("reference", "half").factor == 0.25
    helper.write_text("FACTOR = 0.125\n")
    assert Registry((file,)).create("reference", "half").factor == 0.125


def test_helpers_of_one_name_in_two_folders_are_refused(tmp_path):
    for folder, factor in (("one", 0.5), ("two", 0.9)):
        write(tmp_path / folder, "_shared.py", f"FACTOR = {factor}\n")
        text = "from _shared import FACTOR\n" + TWO_LINES.format(name=f"half-{folder}")
        write(tmp_path / folder, f"plugin_{folder}.py", text)
    registry = Registry((tmp_path / "one", tmp_path / "two"))
    assert "half-one" in registry.names("reference")
    (problem,) = registry.problems
    assert "'_shared' would be imported from" in problem.error


@pytest.mark.parametrize(("text", "says"), [("def (:\n", "SyntaxError"), ("1 / 0\n", "ZeroDivisionError")])
def test_a_lazy_plugin_that_cannot_be_imported_is_listed_with_its_error(tmp_path, monkeypatch, text, says):
    write(tmp_path, f"lazy_{says}.py", text)
    monkeypatch.syspath_prepend(str(tmp_path))
    hook = "import gahbench\n@gahbench.hookimpl\ndef register_metrics(register):\n"
    file = write(tmp_path / "p", "lazy.py", hook + f"    register('lazy', 'lazy_{says}:Lazy')\n")
    plugin = Registry((file,)).get("metric", "lazy")
    assert isinstance(plugin.summary, str)
    with pytest.raises(PluginError, match=says):
        _ = plugin.parameters


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_class_without_a_constructor_has_no_parameters(tmp_path, monkeypatch, is_replaced):
    if is_replaced:
        original = torch.nn.Module.__init__
        # As by torch.compile, until the process ends.
        monkeypatch.setattr(torch.nn.Module, "__init__", lambda self, *args, **keys: original(self, *args, **keys))
    text = "import gahbench\nfrom torch import nn\n@gahbench.hookimpl\ndef register_architectures(register):\n"
    text += "    register('plain', Plain)\nclass Plain(nn.Module):\n    def forward(self, noisy, sigma): return noisy\n"
    assert Registry((write(tmp_path, "plain.py", text),)).get("architecture", "plain").parameters == ()


def test_a_digest_does_not_depend_on_the_folder(tmp_path):
    digests = set()
    for folder in ("one", "two"):
        file = write(tmp_path / folder, "placed.py", TWO_LINES.format(name="half"))
        digests.add(behaviour_digest(Registry((file,)).get("reference", "half").factory))
    assert len(digests) == 1


def test_a_decorated_class_can_be_created_outside_a_suite(tmp_path):
    file = write(tmp_path, "half3.py", TWO_LINES.format(name="half"))
    assert gahbench.create("reference", "half", plugins=[file], factor=0.125).factor == 0.125


def test_listing_and_help_import_no_torch():
    for arguments in (["list"], ["--help"], ["run", "--help"]):
        code = (
            "import sys; sys.argv[1:] = " + repr(arguments) + "\n"
            "from gahbench.cli.app import app\n"
            "try: app()\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            "heavy = {'torch', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)\n"
            "assert not heavy, heavy\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_a_default_that_is_written_out_is_the_same_plugin(tmp_path):
    file = tmp_path / "defaults.py"
    file.write_text(
        "import gahbench\n"
        "@gahbench.hookimpl\n"
        "def register_references(register):\n"
        "    register('whole', Whole)\n"
        "class Whole(gahbench.Reference):\n"
        "    def __init__(self, width: float = 1, sizes: tuple[float, ...] = (1, 2), name: str | None = None): ...\n"
        "    def denoise(self, noisy, sigma, truth):\n"
        "        return noisy\n"
    )
    registry = Registry((file,))
    plain = registry.configure("reference", "whole")
    again = registry.configure("reference", "whole", **plain.parameters)
    assert json.dumps(plain.identity) == json.dumps(again.identity)
    assert plain.label == again.label == "whole"
    assert plain.parameters == {"width": 1.0, "sizes": (1.0, 2.0), "name": None}
