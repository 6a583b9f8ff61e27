"""Digests of behaviour: the changes of code that change a digest."""

import shutil
import sys

import pytest

from gahbench.registry.behaviour import behaviour_digest, function_digest
from gahbench.registry.registry import Registry, load_file

PLUGIN = '''
"""A plugin."""
from __future__ import annotations
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar
import gahbench
import torch.nn.functional as F
from _helper import FACTOR, scaled
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

TABLE = {"a": 1}
TABLE["b"] = 2
try:
    import nowhere_to_be_found
except ImportError:
    LIMIT = 4


@gahbench.hookimpl
def register_references(register):
    register("half", Half)


def needed(name):
    return lambda method: method


@dataclass
class Facts:
    one: Annotated[int, Field(le=3)] = 1


class Half(gahbench.Reference):
    """Half of it."""

    kind = "classical"

    def __init__(self, factor: float = 0.5) -> None:
        self.factor = factor

    @needed("jacobian")
    def weight(self):
        return 2

    def denoise(self, noisy, sigma, truth):
        """Return it."""
        total: float = sum(TABLE[name] for name in TABLE) + LIMIT + Facts().one
        return scaled(F.relu(noisy), self.factor * FACTOR) + total * math.pi
'''
HELPER = '''
"""Helpers."""
from _leaf import OFFSET

FACTOR = 0.25


def scaled(images, weight):
    """Scale."""
    return images * weight + OFFSET
'''
FILES = {
    "half.py": PLUGIN,
    "_helper.py": HELPER,
    "_leaf.py": "OFFSET = 7\n",
    "_works.py": "import gahbench\n\nWORK = gahbench.Citation('A, B', 'C', 2020)\n",
}


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """Return a function that returns the digest of the plugin in the first of some files.

    Its other arguments are changes (file, old, new) of the files.
    """
    # Loading a plugin adds its folder to the path.
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = {*sys.modules}

    def compute(files, *changes):
        shutil.rmtree(tmp_path)
        for name, text in files.items():
            for file, old, new in changes:
                if file == name:
                    assert old in text, old
                    text = text.replace(old, new)
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        registry = Registry((tmp_path / next(iter(files)),))
        assert not registry.problems
        plugins = [plugin for kind in ("reference", "metric") for plugin in registry.plugins(kind)]
        (plugin,) = (plugin for plugin in plugins if not plugin.is_built_in)
        try:
            return behaviour_digest(plugin.factory)
        finally:
            for name in {*sys.modules} - known:
                if str(getattr(sys.modules[name], "__file__", None) or tmp_path).startswith(str(tmp_path)):
                    del sys.modules[name]

    return compute


UNCHANGED = {
    "docstrings": [("half.py", '"""Half of it."""', '"""Half."""'), ("_helper.py", '    """Scale."""\n', "")],
    "comments": [("half.py", "TABLE = ", "# A comment.\nTABLE = ")],
    "annotations": [("half.py", "factor: float = 0.5) -> None", "factor: 'int' = 0.5)")],
    "annotations of variables": [
        ("_helper.py", "FACTOR = 0.25", "FACTOR: float = 0.25"),
        ("half.py", "total: float = sum", "total = sum"),
    ],
    "an alias of an import": [
        ("half.py", "import torch.nn.functional as F", "from torch.nn import functional"),
        ("half.py", "F.relu", "functional.relu"),
        ("half.py", "import FACTOR, scaled", "import FACTOR, scaled as moved"),
        ("half.py", "scaled(", "moved("),
    ],
    "an import of a name instead of its module": [
        ("half.py", "import math\n", "from math import pi\n"),
        ("half.py", "math.pi", "pi"),
    ],
    "an import for type checkers": [("half.py", "if TYPE_CHECKING:\n    from torch import Tensor\n", "")],
    "a citation": [("half.py", "def __init__", 'citation = gahbench.Citation("A", "B", 2020)\n\n    def __init__')],
    "a display name": [("half.py", "def __init__", 'display_name = "half"\n\n    def __init__')],
    "a citation in another module": [
        ("half.py", "import math\n", "import math\nfrom _works import WORK\n"),
        ("half.py", 'kind = "classical"', 'kind = "classical"\n    citation = (WORK,)'),
    ],
    "code for running the file as a script": [
        ("half.py", "\n\nclass Half", '\nif __name__ == "__main__":\n    print(TABLE)\n\n\nclass Half'),
    ],
}  # fmt: skip
CHANGED = {
    "a constant": [("half.py", "math.pi", "math.e")],
    "a default": [("half.py", "factor: float = 0.5", "factor: float = 0.25")],
    "a constant of a helper": [("_helper.py", "FACTOR = 0.25", "FACTOR = 0.5")],
    "a constant that a helper imports": [("_leaf.py", "OFFSET = 7", "OFFSET = 8")],
    "a change in place": [("half.py", 'TABLE["b"] = 2', 'TABLE["b"] = 3')],
    "a fallback": [("half.py", "LIMIT = 4", "LIMIT = 5")],
    "a field of a dataclass": [("half.py", "= 1\n\n\nclass Half", "= 2\n\n\nclass Half")],
    "a field without a default": [("half.py", "one: Anno", "zero: int\n    one: Anno")],
    "a field that becomes a class variable": [("half.py", "one: Annotated[int, Field(le=3)]", "one: ClassVar[int]")],
    "the bounds of a field": [("half.py", "le=3", "le=4")],
    "a field named citation": [("half.py", "class Facts:", "class Facts:\n    citation: int = 1")],
    "a function of a library": [("half.py", "F.relu", "F.silu")],
    "a library": [("half.py", "import math\n", "import cmath as math\n")],
    "a base class": [("half.py", "class Half(gahbench.Reference)", "class Half(gahbench.Reference, dict)")],
    "a decorator": [("_helper.py", "def scaled", "@staticmethod\ndef scaled")],
    "a method with a decorator called needed": [("half.py", "return 2", "return 3")],
    "the type of a number": [("_leaf.py", "7", "7.0")],
    "the order of parameters": [("_helper.py", "scaled(images, weight)", "scaled(weight, images)")],
    "the order of terms": [("half.py", "+ LIMIT + Facts().one", "+ Facts().one + LIMIT")],
}


def test_changes_without_effect_on_results_keep_the_digest(digest_of):
    plain = digest_of(FILES)
    assert [name for name, changes in UNCHANGED.items() if digest_of(FILES, *changes) != plain] == []


def test_different_changes_of_behaviour_give_different_digests(digest_of):
    digests = {name: digest_of(FILES, *changes) for name, changes in {"none": [], **CHANGED}.items()}
    by_digest = {digest: [name for name, other in digests.items() if other == digest] for digest in digests.values()}
    assert [names for names in by_digest.values() if len(names) > 1] == []


F = "def f(x):\n    return x / 2\n"
EITHER = "try:\n    from _fast import f\nexcept ImportError:\n    from _slow import f\n"
#: Cases by description: helper files, the plugin's first lines and return value, and the file whose ``x / 2`` it
#: uses.
REACHED = {
    "a table that another module fills when it is imported": (
        {"_table.py": "TABLE = []\n", "_setup.py": f"from _table import TABLE\n\n\n{F}\nTABLE.append(f)\n"},
        "import _setup\nfrom _table import TABLE\n",
        "TABLE[0](noisy)",
        "_setup.py",
    ),
    "the second of two alternative imports in a helper": (
        {"_fast.py": F.replace("2", "4"), "_slow.py": F, "_either.py": EITHER},
        "import _either\n",
        "_either.f(noisy)",
        "_slow.py",
    ),
    "a folder without __init__.py": (
        {"tool_folder/tools.py": F},
        "from tool_folder import tools\n",
        "tools.f(noisy)",
        "tool_folder/tools.py",
    ),
    "all names of a module": (
        {"_tools.py": "from _more import *\n", "_more.py": F},
        "from _tools import *\n",
        "f(noisy)",
        "_more.py",
    ),
    "a module of a package": (
        {"_pack/__init__.py": "", "_pack/deep.py": "def g(x):\n    from .deeper import f\n    return f(x)\n"}
        | {"_pack/deeper.py": F},
        "import _pack.deep\n",
        "_pack.deep.g(noisy)",
        "_pack/deeper.py",
    ),
}


@pytest.mark.parametrize("name", REACHED)
def test_the_digest_covers_code_reached_by_any_import(digest_of, name):
    helpers, text, result, file = REACHED[name]
    plugin = (
        f"import gahbench\n{text}\n\n@gahbench.hookimpl\ndef register_references(register):\n"
        '    register("it", It)\n\n\nclass It(gahbench.Reference):\n'
        f"    def denoise(self, noisy, sigma, truth):\n        return {result}\n"
    )
    files = {"plugin.py": plugin, **helpers}
    assert digest_of(files, (file, "x / 2", "x / 3")) != digest_of(files) == digest_of(files)


def test_circular_imports_have_a_digest(tmp_path):
    (tmp_path / "_other.py").write_text("import circle\n\n\ndef b(n):\n    return n and circle.a(n - 1)\n")
    (tmp_path / "circle.py").write_text("def a(n):\n    from _other import b\n\n    return b(n)\n\n\ndef c(): ...\n")
    loaded = load_file(tmp_path / "circle.py")
    assert behaviour_digest(loaded.a) == behaviour_digest(loaded.a) != behaviour_digest(loaded.c)


def test_methods_for_a_need_change_digests_of_metrics_with_the_need():
    score = "gahbench.evaluation.measurement:Measurement"
    plain, samples, jacobian = (function_digest(score, frozenset(needs)) for needs in ((), ("samples",), ("jacobian",)))
    assert len({plain, samples, jacobian}) == 3
    assert function_digest(score, frozenset(("test", "training"))) == plain


STABLE = """
import functools
import json as JSON
from dataclasses import dataclass

SCALE = {"a": (1, 2.5), **{}}


@dataclass(frozen=True)
class Facts:
    one: int
    two: "float" = 2

    @property
    def total(self) -> float:
        rest: int = sum(k for k in range(self.one) if k % 2)
        return rest + self.two


@functools.cache
def f(x, /, y=1, *args, z=None, **more):
    with open(x) as file:
        more[y] = [line.strip() for line in file]
    match args:
        case [Facts(one=k), *_]:
            return (lambda m: m @ k)
        case _:
            return f"{x!r:>3}" if z else JSON
"""


def test_the_digest_of_a_fixed_file_is_stable(tmp_path):
    """The digest is the same in all versions of Python; a change of it invalidates all stored results."""
    (tmp_path / "stable.py").write_text(STABLE)
    assert behaviour_digest(load_file(tmp_path / "stable.py").f)[:16] == "ba0784c3803dde94"
