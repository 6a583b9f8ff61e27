"""Code that a plugin reaches by tables, fallbacks, packages and the like counts in its digest, and no other."""

import sys

import pytest

from gahbench.registry.behaviour import behaviour_digest
from gahbench.registry.registry import Registry

#: By name: files beside ``plugin.py``, whose text follows, and an edit of one of them that changes behaviour.
FOLLOWED = {
    "a function that a decorator enters into a table": (
        {"_table.py": "TABLE = []\n\n\ndef add(f):\n    TABLE.append(f)\n    return f\n"},
        "from _table import TABLE, add\n\n\n@add\ndef blur(x):\n    return x / 2\n",
        "TABLE[0](noisy)",
        ("plugin.py", "x / 2", "x / 3"),
    ),
    "an overload": (
        {},
        "import functools\n\n\n@functools.singledispatch\ndef f(x):\n    return x\n\n\n"
        "@f.register\ndef _(x: int):\n    return x / 2\n",
        "f(noisy)",
        ("plugin.py", "x / 2", "x / 3"),
    ),
    "a table that another module fills when it is imported": (
        {"_table.py": "TABLE = []\n", "_setup.py": "from _table import TABLE\n\nTABLE.append(2)\n"},
        "import _setup\nfrom _table import TABLE\n",
        "noisy * TABLE[0]",
        ("_setup.py", "append(2)", "append(3)"),
    ),
    "a table that a loop fills": (
        {},
        "TABLE = []\nfor k in (1, 2):\n    TABLE.append(k)\n",
        "noisy * TABLE[0]",
        ("plugin.py", "(1, 2)", "(2, 1)"),
    ),
    "the first of two imports": (
        {"_fast.py": "def f(x):\n    return x / 2\n", "_slow.py": "def f(x):\n    return x / 2\n"},
        "try:\n    from _fast import f\nexcept ImportError:\n    from _slow import f\n",
        "f(noisy)",
        ("_fast.py", "x / 2", "x / 3"),
    ),
    "an import with a definition to fall back on": (
        {"_fast.py": "def f(x):\n    return x / 2\n"},
        "try:\n    from _fast import f\nexcept ImportError:\n\n    def f(x):\n        return x\n",
        "f(noisy)",
        ("_fast.py", "x / 2", "x / 3"),
    ),
    "a folder without __init__": (
        {"helpers_of_it/tools.py": "def f(x):\n    return x / 2\n"},
        "from helpers_of_it import tools\n",
        "tools.f(noisy)",
        ("helpers_of_it/tools.py", "x / 2", "x / 3"),
    ),
    "a module that is passed on": (
        {"_tools.py": "def f(x):\n    return x / 2\n"},
        "import _tools\n",
        "vars(_tools)['f'](noisy)",
        ("_tools.py", "x / 2", "x / 3"),
    ),
    "all names of a module": (
        {"_tools.py": "from _more import *\n", "_more.py": "def f(x):\n    return x / 2\n"},
        "from _tools import *\n",
        "f(noisy)",
        ("_more.py", "x / 2", "x / 3"),
    ),
    "a module of a package": (
        {
            "_pack/__init__.py": "",
            "_pack/deep.py": "def f(x):\n    from .deeper import g\n\n    return g(x)\n",
            "_pack/deeper.py": "def g(x):\n    return x / 2\n",
        },
        "from _pack import deep\n",
        "deep.f(noisy)",
        ("_pack/deeper.py", "x / 2", "x / 3"),
    ),
    "what a package hands on": (
        {"_pack/__init__.py": "from ._deep import f\n", "_pack/_deep.py": "def f(x):\n    return x / 2\n"},
        "import _pack\n",
        "_pack.f(noisy)",
        ("_pack/_deep.py", "x / 2", "x / 3"),
    ),
    "a relative import in a function of a package": (
        {
            "_pack/__init__.py": "def f(x):\n    from . import _deep\n\n    return _deep.g(x)\n",
            "_pack/_deep.py": "def g(x):\n    return x / 2\n",
        },
        "from _pack import f\n",
        "f(noisy)",
        ("_pack/_deep.py", "x / 2", "x / 3"),
    ),
    "a table that a module of a package fills": (
        {
            "_pack/__init__.py": "TABLE = []\n",
            "_pack/setup.py": "from . import TABLE\n\nTABLE.append(2)\n",
        },
        "from _pack import TABLE, setup\n",
        "noisy * TABLE[0]",
        ("_pack/setup.py", "append(2)", "append(3)"),
    ),
    "a function called cast": (
        {},
        "def cast(factor, x):\n    return factor * x\n",
        "cast(2, noisy)",
        ("plugin.py", "cast(2, noisy)", "cast(3, noisy)"),
    ),
    "a decorator called needed": (
        {},
        "def needed(name='a'):\n    return lambda f: f\n\n\n"
        "class Helper:\n    @needed('a')\n    def f(self, x):\n        return x / 2\n",
        "Helper().f(noisy)",
        ("plugin.py", "x / 2", "x / 3"),
    ),
    "a value within an assignment": (
        {},
        "A = (B := 3)\n",
        "noisy * B",
        ("plugin.py", "(B := 3)", "(B := 4)"),
    ),
    "a validated field": (
        {},
        "from typing import Annotated\nfrom pydantic import BaseModel, Field\n\n\n"
        "class Base(BaseModel):\n    pass\n\n\nclass Facts(Base):\n    one: Annotated[int, Field(le=3)] = 2\n",
        "noisy * Facts().one",
        ("plugin.py", "le=3", "le=4"),
    ),
    "the second of two imports": (
        {"_fast.py": "def f(x):\n    return x / 2\n", "_slow.py": "def f(x):\n    return x / 2\n"},
        "try:\n    from _fast import f\nexcept ImportError:\n    from _slow import f\n",
        "f(noisy)",
        ("_slow.py", "x / 2", "x / 3"),
    ),
    "the second of two imports of another module": (
        {
            "_fast.py": "def f(x):\n    return x / 2\n",
            "_slow.py": "def f(x):\n    return x / 2\n",
            "_either.py": "try:\n    from _fast import f\nexcept ImportError:\n    from _slow import f\n",
        },
        "import _either\n",
        "_either.f(noisy)",
        ("_slow.py", "x / 2", "x / 3"),
    ),
    "the second of two imports, in a function": (
        {
            "_fast.py": "def f(x):\n    return x / 2\n",
            "_slow.py": "def f(x):\n    return x / 2\n",
            "_either.py": "try:\n    from _fast import f\nexcept ImportError:\n    from _slow import f\n",
        },
        "def g(x):\n    from _either import f\n\n    return f(x)\n",
        "g(noisy)",
        ("_slow.py", "x / 2", "x / 3"),
    ),
    "the second of two libraries": (
        {},
        "try:\n    from math import sqrt as f\nexcept ImportError:\n    from cmath import sqrt as f\n",
        "noisy * f(2)",
        ("plugin.py", "cmath", "numpy"),
    ),
    "a module that is passed on in a function": (
        {"_tools.py": "def f(x):\n    return x / 2\n"},
        "def g(x):\n    import _tools\n\n    return vars(_tools)['f'](x)\n",
        "g(noisy)",
        ("_tools.py", "x / 2", "x / 3"),
    ),
    "a library that is passed on": (
        {},
        "import cmath\nimport math\n",
        "noisy * len(vars(math))",
        ("plugin.py", "vars(math)", "vars(cmath)"),
    ),
    "an attribute that a module does not define": (
        {"_tools.py": "A = 1\n"},
        "import _tools\n",
        "noisy * len(_tools.__name__)",
        ("plugin.py", "_tools.__name__", "_tools.__doc__"),
    ),
    "a table that a module whose name comes after gahbench fills": (
        {"_table.py": "TABLE = []\n", "setup_of_it.py": "from _table import TABLE\n\nTABLE.append(2)\n"},
        "import setup_of_it\nfrom _table import TABLE\n",
        "noisy * TABLE[0]",
        ("setup_of_it.py", "append(2)", "append(3)"),
    ),
    "a table that a branch fills": (
        {},
        "TABLE = []\nif 1 < 2:\n    TABLE.append(2)\n",
        "noisy * TABLE[0]",
        ("plugin.py", "append(2)", "append(3)"),
    ),
    "a table that a branch of a constant fills": (
        {},
        "TABLE, ON = [], True\nif ON:\n    TABLE.append(2)\n",
        "noisy * TABLE[0]",
        ("plugin.py", "append(2)", "append(3)"),
    ),
    "a table that a branch of a variable fills": (
        {},
        "TABLE, on = [], True\nif on:\n    TABLE.append(2)\n",
        "noisy * TABLE[0]",
        ("plugin.py", "append(2)", "append(3)"),
    ),
    "a default of the name of its parameter": (
        {},
        "X = 2\n\n\ndef f(x, *, more=None, X=X):\n    return X * x\n",
        "f(noisy)",
        ("plugin.py", "X = 2", "X = 3"),
    ),
    "a cast by keywords": (
        {},
        "from typing import cast\n",
        "cast(typ=float, val=noisy) / 2",
        ("plugin.py", "/ 2", "/ 3"),
    ),
    "a method that a decorator from a table marks": (
        {},
        "MARKS = {'a': lambda name: lambda f: f}\n\n\n"
        "class Helper:\n    @MARKS['a']('b')\n    def f(self, x):\n        return x / 2\n",
        "Helper().f(noisy)",
        ("plugin.py", "x / 2", "x / 3"),
    ),
    "a function from a table, of two arguments": (
        {},
        "TABLE = {'a': lambda factor, x: factor * x}\n",
        "TABLE['a'](2, noisy)",
        ("plugin.py", "(2, noisy)", "(3, noisy)"),
    ),
    "an attribute of a class that is derived from a function's result": (
        {},
        "def base():\n    return object\n\n\nclass Helper(base()):\n    unit = 2\n",
        "noisy * Helper.unit",
        ("plugin.py", "unit = 2", "unit = 3"),
    ),
    "what is a field of a dataclass in a function": (
        {},
        "from dataclasses import dataclass, fields\n\n\ndef f(x):\n    @dataclass\n    class Facts:\n"
        "        one: int = 2\n\n    return len(fields(Facts)) * x\n",
        "f(noisy)",
        ("plugin.py", "one: int = 2", "one = 2"),
    ),
    "what is a field of a dataclass in a class": (
        {},
        "from dataclasses import dataclass, fields\n\n\nclass Helper:\n    @dataclass\n    class Facts:\n"
        "        one: int = 2\n",
        "len(fields(Helper.Facts)) * noisy",
        ("plugin.py", "one: int = 2", "one = 2"),
    ),
    "a constant of the name of an attribute of the class": (
        {},
        "A = 2\n\n\nclass Helper:\n    A = 5\n\n    def f(self, x):\n        return A * x\n",
        "Helper().f(noisy)",
        ("plugin.py", "A = 2", "A = 3"),
    ),
    "an argument of a library's function of two arguments": (
        {},
        "import math\n",
        "noisy * math.ldexp(2, 1)",
        ("plugin.py", "(2, 1)", "(3, 1)"),
    ),
    "an argument of a library's function whose name comes after that of cast": (
        {},
        "import zlib\n",
        "noisy * zlib.crc32(b'', 1)",
        ("plugin.py", "b''", "b'0'"),
    ),
    "which of two modules of one text is passed on": (
        {"_one.py": "A = 1\n", "_other.py": "A = 1\n"},
        "import _one\nimport _other\n",
        "noisy * len(repr(_one))",
        ("plugin.py", "repr(_one)", "repr(_other)"),
    ),
}
#: In the same way, edits that do not change behaviour.
NOT_FOLLOWED = {
    "a definition that a decorator of gahbench marks, and nothing uses": (
        {},
        "from gahbench.contracts.needs import needed\n\n\n@needed('samples')\ndef f(x):\n    return x / 2\n",
        "noisy",
        ("plugin.py", "x / 2", "x / 3"),
    ),
    "a module of which only the name is used": (
        {"_tools.py": "A = 1\n"},
        "import _tools\n",
        "noisy * len(_tools.__name__)",
        ("_tools.py", "A = 1", "A = 2"),
    ),
    "a module of the name of a function of its package": (
        {"_pack/__init__.py": "def tools(x):\n    return x / 2\n", "_pack/tools.py": "A = 1\n"},
        "from _pack import tools\n",
        "tools(noisy)",
        ("_pack/tools.py", "A = 1", "A = 2"),
    ),
    "an import for type checkers": (
        {},
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import torch\n",
        "noisy",
        ("plugin.py", "if TYPE_CHECKING:\n    import torch\n", ""),
    ),
    "an import for type checkers, by its whole name": (
        {},
        "import typing\n\nif typing.TYPE_CHECKING:\n    import torch\n",
        "noisy",
        ("plugin.py", "if typing.TYPE_CHECKING:\n    import torch\n", ""),
    ),
    "an annotation in a method of a dataclass": (
        {},
        "from dataclasses import dataclass\n\n\n@dataclass\nclass Facts:\n    one: int = 1\n\n"
        "    def f(self, x):\n        y: int = 2 * x\n        return y\n",
        "Facts().f(noisy)",
        ("plugin.py", "y: int = 2 * x", "y = 2 * x"),
    ),
    "a docstring in place of a pass": (
        {},
        "class Helper:\n    pass\n",
        "noisy if Helper else noisy",
        ("plugin.py", "    pass\n", "    'It does nothing.'\n"),
    ),
    "a constant of the name of a variable of an enclosing function": (
        {},
        "A = 2\n\n\ndef f(x):\n    A = 5\n\n    def g():\n        return A * x\n\n    return g()\n",
        "f(noisy)",
        ("plugin.py", "A = 2", "A = 3"),
    ),
    "a constant of the name of an attribute that the class uses": (
        {},
        "A = 2\n\n\nclass Helper:\n    A = 5\n    B = 2 * A\n",
        "Helper.B * noisy",
        ("plugin.py", "A = 2", "A = 3"),
    ),
}


@pytest.mark.parametrize("name", [*FOLLOWED, *NOT_FOLLOWED])
def test_code_counts_in_whatever_way_it_is_reached(name, tmp_path, monkeypatch):
    helpers, text, result, (file, old, new) = {**FOLLOWED, **NOT_FOLLOWED}[name]
    monkeypatch.setattr(sys, "path", [*sys.path])
    plugin = (
        f"import gahbench\n{text}\n\n@gahbench.hookimpl\ndef register_references(register):\n"
        '    register("it", It)\n\n\nclass It(gahbench.Reference):\n'
        f"    def denoise(self, noisy, sigma, truth):\n        return {result}\n"
    )

    def digest(*change):
        for place, content in {**helpers, "plugin.py": plugin}.items():
            (tmp_path / place).parent.mkdir(exist_ok=True)
            if change and place == file:
                assert old in content
                content = content.replace(*change)
            (tmp_path / place).write_text(content)
        try:
            registry = Registry((tmp_path / "plugin.py",))
            assert not registry.problems
            return behaviour_digest(registry.get("reference", "it").factory)
        finally:
            for place in helpers:
                sys.modules.pop(place.removesuffix(".py").removesuffix("/__init__").replace("/", "."), None)
            sys.modules.pop("helpers_of_it", None)

    assert (digest(old, new) != digest()) == (name in FOLLOWED)
    assert digest() == digest()
