"""Digests of behaviour: what of a plugin's code counts."""

import sys
import textwrap

import pytest

from gahbench.registry.behaviour import behaviour_digest, computed_by
from gahbench.registry.plugin_files import load_file
from gahbench.registry.registry import Registry

PLUGIN = '''
"""A plugin."""
from __future__ import annotations
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast
import gahbench
import torch.nn.functional as F
from _helper import FACTOR, scaled

if TYPE_CHECKING:
    from torch import Tensor

TABLE = {"a": 1}
TABLE["b"] = 2
UNUSED = 3
try:
    import nowhere_to_be_found
except ImportError:
    LIMIT = 4


@gahbench.hookimpl
def register_references(register):
    register("half", Half)


@dataclass
class Facts:
    one: int = 1


class Half(gahbench.Reference):
    """Half of it."""

    kind = "classical"

    def __init__(self, factor: float = 0.5) -> None:
        self.factor = factor

    def denoise(self, noisy, sigma, truth):
        """Return it."""
        total: float = sum(TABLE[name] for name in TABLE) + LIMIT + Facts().one
        weight = cast(float, self.factor) * FACTOR
        return scaled(F.relu(noisy), weight) + total * math.pi
'''
HELPER = '''
"""Helpers."""
from _leaf import OFFSET

FACTOR = 0.25
ELSEWHERE = 1


def scaled(images, weight):
    """Scale."""
    OFFSETS = [OFFSET for OFFSET in (1, 2)]
    return images * weight + len(OFFSETS) + _own()


def _own():
    return OFFSET
'''
LEAF = "OFFSET = 7\nOTHER = 8\n"
WORKS = "import gahbench\n\nWORK = gahbench.Citation('A, B', 'C', 2020)\n"


@pytest.fixture
def digest(tmp_path, monkeypatch):
    # The folder of a plugin stays on the path, for its imports.
    monkeypatch.setattr(sys, "path", [*sys.path])
    files = {"half.py": PLUGIN, "_helper.py": HELPER, "_leaf.py": LEAF, "_works.py": WORKS}

    def of(*changes):
        for name, text in files.items():
            for file, old, new in changes:
                if file == name:
                    assert old in text, old
                    text = text.replace(old, new)
            (tmp_path / name).write_text(text)
        return behaviour_digest(Registry((tmp_path / "half.py",)).get("reference", "half").factory)

    yield of
    for name in ("_helper", "_leaf", "_works"):
        sys.modules.pop(name, None)


SAME = {
    "docstrings": [("half.py", '"""Half of it."""', '"""Half."""'), ("_helper.py", '"""Scale."""', '"""Scale it."""')],
    "no docstring": [("half.py", '    """Half of it."""\n\n', "")],
    "comments": [("half.py", "UNUSED", "# A comment.\nUNUSED")],
    "layout": [("half.py", "self.factor = factor", "self.factor = (\n            factor\n        )")],
    "annotations": [("half.py", "factor: float = 0.5) -> None", "factor: 'int' = 0.5)")],
    "a new annotation": [("_helper.py", "FACTOR = 0.25", "FACTOR: float = 0.25")],
    "no annotation of a variable": [("half.py", "total: float = sum", "total = sum")],
    "an annotation of a class": [("half.py", 'kind = "classical"', 'kind = "classical"\n    note: str')],
    "a cast": [("half.py", "cast(float, self.factor)", "self.factor")],
    "an import under another name": [
        ("half.py", "import torch.nn.functional as F", "import torch.nn.functional as functional"),
        ("half.py", "F.relu", "functional.relu"),
    ],
    "another way to import": [
        ("half.py", "import torch.nn.functional as F", "from torch.nn import functional as F"),
        ("half.py", "import math\n", "from math import pi\n"),
        ("half.py", "math.pi", "pi"),
    ],
    "an import where it is used": [
        ("half.py", "from _helper import FACTOR, scaled\n", ""),
        ("half.py", '        """Return it."""\n', "        from _helper import FACTOR, scaled\n"),
    ],
    "a module in place of its names": [
        ("half.py", "from _helper import FACTOR, scaled", "import _helper as helper"),
        ("half.py", "* FACTOR", "* helper.FACTOR"),
        ("half.py", "scaled(F", "helper.scaled(F"),
    ],
    "what is not used": [("half.py", "UNUSED = 3", "UNUSED = 5"), ("_leaf.py", "OTHER = 8", "OTHER = 9"),
                         ("_helper.py", "ELSEWHERE = 1", "ELSEWHERE = 2")],
    "a definition moved": [
        ("_helper.py", "\n\ndef _own():\n    return OFFSET\n", "\n"),
        ("_helper.py", "from _leaf import OFFSET\n", "from _leaf import _own\n"),
        ("_leaf.py", "OTHER = 8\n", "OTHER = 8\n\n\ndef _own():\n    return OFFSET\n"),
    ],
    "a citation": [("half.py", "def __init__", "citation = gahbench.Citation(\"A\", \"B\", 2020)\n\n    def __init__")],
    "a citation of another module": [
        ("half.py", "import math\n", "import math\nfrom _works import WORK\n"),
        ("half.py", 'kind = "classical"', 'kind = "classical"\n    citation: ClassVar[object] = (WORK,)'),
    ],
    "the name under which it is registered": [("half.py", 'register("half", Half)', 'register("half", Half)  # so')],
}  # fmt: skip
OTHER = {
    "a constant": [("half.py", "math.pi", "math.e")],
    "a default": [("half.py", "factor: float = 0.5", "factor: float = 0.25")],
    "a constant of a helper": [("_helper.py", "FACTOR = 0.25", "FACTOR = 0.5")],
    "a function of a helper": [("_helper.py", "images * weight", "images + weight")],
    "what a helper uses": [("_leaf.py", "OFFSET = 7", "OFFSET = 8")],
    "a change in place": [("half.py", 'TABLE["b"] = 2', 'TABLE["b"] = 3')],
    "a fallback": [("half.py", "LIMIT = 4", "LIMIT = 5")],
    "a field of a dataclass": [("half.py", "one: int = 1", "one: int = 2")],
    "a field without a default": [("half.py", "one: int = 1", "zero: int\n    one: int = 1")],
    "a field that is of the class": [("half.py", "one: int = 1", "one: ClassVar[int] = 1")],
    "a function of a library": [("half.py", "F.relu", "F.silu")],
    "a class attribute": [("half.py", 'kind = "classical"', 'kind = "oracle"')],
    "a citation that is computed with": [
        ("half.py", 'kind = "classical"', 'kind = "classical"\n    citation = 2'),
        ("half.py", "* FACTOR", "* FACTOR * self.citation"),
    ],
    "another such citation": [
        ("half.py", 'kind = "classical"', 'kind = "classical"\n    citation = 3'),
        ("half.py", "* FACTOR", "* FACTOR * self.citation"),
    ],
    "a field named citation": [("half.py", "one: int = 1", "one: int = 1\n    citation: int = 1")],
    "a base class": [("half.py", "class Half(gahbench.Reference)", "class Half(gahbench.Reference, dict)")],
    "a decorator": [("_helper.py", "def _own", "@staticmethod\ndef _own")],
    "a call when it is imported": [("half.py", "UNUSED = 3", "math.sqrt(2)")],
    "another type of number": [("_helper.py", "(1, 2)", "(1.0, 2)")],
    "an order of parameters": [("_helper.py", "scaled(images, weight)", "scaled(weight, images)")],
    "a method's name": [("half.py", "def denoise", "def denoised")],
    "an order": [("half.py", "+ LIMIT + Facts().one", "+ Facts().one + LIMIT")],
}


@pytest.mark.parametrize("change", SAME)
def test_what_does_not_change_behaviour_does_not_change_the_digest(digest, change):
    assert digest(*SAME[change]) == digest()


@pytest.mark.parametrize("change", OTHER)
def test_what_changes_behaviour_changes_the_digest(digest, change):
    assert digest(*OTHER[change]) != digest()


def test_how_a_metric_is_shown_does_not_count(tmp_path):
    text = textwrap.dedent(
        """
        import gahbench

        @gahbench.hookimpl
        def register_metrics(register):
            register("shown", Shown)

        class Shown(gahbench.Metric):
            unit = "dB"
            higher_is_better = True
            min_images = 2

            def score(self, evaluation):
                return gahbench.Scores([])
        """
    )

    def digest(*change):
        file = tmp_path / "shown.py"
        file.write_text(text.replace(*change) if change else text)
        return behaviour_digest(Registry((file,)).get("metric", "shown").factory)

    assert digest('unit = "dB"', 'unit = "octaves"\n    titles = {"": "so"}') == digest()
    assert digest("higher_is_better = True", "higher_is_better: bool = False") == digest()
    assert digest("min_images = 2", "min_images = 3") != digest()
    # Of another class such names may mean anything.
    assert digest("(gahbench.Metric)", "") != digest("(gahbench.Metric):\n    unit = 'dB'", ":\n    unit = 'm'")


def test_no_two_changes_have_one_digest(digest):
    found = [digest(), *(digest(*change) for change in OTHER.values())]
    assert len(set(found)) == len(found)


def test_definitions_of_equal_text_differ_by_what_they_use(tmp_path):
    """Two helpers of one text, each with a constant of its own: the class uses one or the other."""
    (tmp_path / "_a.py").write_text("X = 1\n\n\ndef f():\n    return X\n")
    (tmp_path / "_b.py").write_text("X = 2\n\n\ndef f():\n    return X\n")
    text = textwrap.dedent(
        """
        import gahbench
        import _a
        import _b

        @gahbench.hookimpl
        def register_references(register):
            register("either", Either)

        class Either(gahbench.Reference):
            def denoise(self, noisy, sigma, truth):
                return noisy * _a.f() + noisy / _b.f()
        """
    )
    found = []
    for body in (text, text.replace("_a.f() + noisy / _b.f()", "_b.f() + noisy / _a.f()")):
        file = tmp_path / "either.py"
        file.write_text(body)
        found.append(behaviour_digest(Registry((file,)).get("reference", "either").factory))
    assert found[0] != found[1]


def test_recursion_and_circles_end(tmp_path):
    file = tmp_path / "circle.py"
    file.write_text("def a(n):\n    return b(n)\n\n\ndef b(n):\n    return n and a(n - 1)\n")
    loaded = load_file(file)
    assert behaviour_digest(loaded.a) != behaviour_digest(loaded.b)
    assert behaviour_digest(loaded.a) == behaviour_digest(loaded.a)


def test_what_is_of_no_consequence_in_a_helper_does_not_count(tmp_path, monkeypatch):
    """Of a module that is imported, other definitions, and other modules of its package."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "_pack2").mkdir()
    files = {
        "_pack2/__init__.py": "A = 1\n",
        "_pack2/used.py": "B = 1\n\n\ndef f(x):\n    return x\n",
        "_pack2/other.py": "C = 1\nTABLE = []\nTABLE.append(1)\n",
        "plain.py": "import gahbench\nfrom _pack2 import used\n\n\n@gahbench.hookimpl\n"
        'def register_references(register):\n    register("plain", Plain)\n\n\nclass Plain(gahbench.Reference):\n'
        "    def denoise(self, noisy, sigma, truth):\n        return used.f(noisy)\n",
    }

    def digest(changed=None):
        for name, text in files.items():
            (tmp_path / name).write_text(text.replace("= 1", "= 2").replace("(1)", "(2)") if name == changed else text)
        return behaviour_digest(Registry((tmp_path / "plain.py",)).get("reference", "plain").factory)

    assert {digest(name) for name in files} == {digest()}


def test_a_class_that_a_function_makes_counts_with_its_call(tmp_path):
    text = (
        "import gahbench\n\n\ndef make(factor):\n    class Made(gahbench.Reference):\n"
        "        def denoise(self, noisy, sigma, truth):\n            return factor * noisy\n\n    return Made\n\n\n"
        '@gahbench.hookimpl\ndef register_references(register):\n    register("made", make(0.5))\n'
    )

    def digest(body):
        (tmp_path / "made.py").write_text(body)
        return behaviour_digest(Registry((tmp_path / "made.py",)).get("reference", "made").factory)

    assert digest(text) == digest(text) != digest(text.replace("0.5", "0.9"))


def test_what_a_metric_computes_with_counts_though_it_is_shown_too(tmp_path):
    text = (
        "import gahbench\n\n\n@gahbench.hookimpl\ndef register_metrics(register):\n"
        '    register("shown", Shown)\n\n\nclass Shown(gahbench.Metric):\n    titles = {"a": "A"}\n\n'
        "    def score(self, evaluation):\n        return gahbench.Scores([1.0 for part in self.titles])\n"
    )

    def digest(body):
        (tmp_path / "shown.py").write_text(body)
        return behaviour_digest(Registry((tmp_path / "shown.py",)).get("metric", "shown").factory)

    assert digest(text) != digest(text.replace('"a": "A"', '"a": "A", "b": "B"'))
    assert digest(text.replace("self.titles", "(1, 2)")) == digest(
        text.replace("self.titles", "(1, 2)").replace('"A"', '"B"')
    )


def test_what_a_plugin_does_as_a_script_does_not_count(digest):
    script = ("half.py", "UNUSED = 3\n", 'UNUSED = 3\n\nif __name__ == "__main__":\n    print(UNUSED)\n')
    assert digest(script) == digest()


def test_a_partial_cannot_be_registered(tmp_path):
    text = "import functools\nimport gahbench\n\n\n@gahbench.hookimpl\ndef register_references(register):\n"
    (tmp_path / "part.py").write_text(text + '    register("part", functools.partial(dict, a=1))\n')
    (problem,) = Registry((tmp_path / "part.py",)).problems
    assert "takes a class or 'module:Class', and keywords as preset parameters" in problem.error


def test_methods_for_what_is_needed_count_for_those_who_need_it():
    score = "gahbench.evaluation.measurement:Measurement"
    plain, samples, jacobian = (computed_by(score, frozenset(needs)) for needs in ((), ("samples",), ("jacobian",)))
    assert len({plain, samples, jacobian}) == 3
    assert computed_by(score, frozenset(("test", "training"))) == plain
    with pytest.raises(AttributeError, match="there is no gahbench"):
        computed_by("gahbench.evaluation.measurement:Nothing")


STABLE = """
import functools
import json as JSON
from dataclasses import dataclass

try:
    from bisect import insort as insert
except ImportError:
    from math import fsum as insert

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
            return g(lambda m: m @ k)
        case _:
            return f"{x!r:>3}" if z else JSON


def g(h):
    return f(h, Facts(1).total, SCALE["a"][0], insert)
"""


def test_digests_are_those_of_earlier_results(tmp_path):
    """Under all versions of Python. A change of these digests has all that was ever computed computed anew."""
    (tmp_path / "stable.py").write_text(STABLE)
    loaded = load_file(tmp_path / "stable.py")
    assert {name: behaviour_digest(getattr(loaded, name))[:16] for name in ("Facts", "f", "g")} == {
        "Facts": "f9ef2462fed8c082",
        "f": "c10947ee334dac55",
        "g": "53cc956cc4aec288",
    }
