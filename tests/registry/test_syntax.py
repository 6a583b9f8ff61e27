"""A module's syntax: what it binds, imports and does."""

import ast

import pytest

from gahbench.registry.syntax import all_modules, imported, read_syntax, syntax_of


def syntax(text, is_package=False):
    return syntax_of(ast.parse(text), "top.inner.it", is_package)


@pytest.mark.parametrize(
    ("text", "is_package", "names", "stars"),
    [
        ("import a", False, {"a": ("a", None)}, []),
        ("import a.b, c.d as e", False, {"a": ("a", None), "e": ("c.d", None)}, []),
        ("from a.b import c, d as e", False, {"c": ("a.b", "c"), "e": ("a.b", "d")}, []),
        ("from a import *", False, {}, ["a"]),
        ("from . import a", False, {"a": ("top.inner", "a")}, []),
        ("from . import a", True, {"a": ("top.inner.it", "a")}, []),
        ("from .a import b", False, {"b": ("top.inner.a", "b")}, []),
        ("from .. import a", False, {"a": ("top", "a")}, []),
        ("from .. import a", True, {"a": ("top.inner", "a")}, []),
        ("from ..a import *", True, {}, ["top.inner.a"]),
    ],
)
def test_imports_bind_names_of_modules(text, is_package, names, stars):
    (node,) = ast.parse(text).body
    assert imported(node, "top.inner.it", is_package) == (names, stars)


def test_all_modules_that_a_module_may_import():
    text = "import a.b\n\n\ndef f():\n    from . import c\n    from d import *\n    from e import g as h\n"
    found = all_modules(ast.parse(text), "top.it", False)
    assert found == {"a.b", "top", "top.c", "d", "e", "e.g"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a = b = 1", "a b"),
        ("a, (b, *c) = d", "a b c"),
        ("a.b[0] = 1", "a"),
        ("a: int = 1", "a"),
        ("a += 1", "a"),
        ("a = (b := 1)", "a b"),
        ("class a: ...", "a"),
        ("async def a(): ...", "a"),
        ("if a:\n    b = 1\n    c.d = 2\nelse:\n    e = 3", "b c e"),
        ("try:\n    import a\nexcept ImportError as b:\n    c = 1", "b c"),
        ("for a in b:\n    c[a] = a", "a c"),
        ("with a as b:\n    pass", "b"),
        ("while a:\n    def b(): ...", "b"),
        ("match a:\n    case [b, *c]:\n        d = 1", "b c d"),
        ("f()[0] = 1", ""),
        ("del a", ""),
        ("f(a)", ""),
    ],
)
def test_statements_bind_names(text, names):
    assert set(syntax(text).definitions) == set(names.split())


def test_imports_in_branches_are_those_of_the_module():
    text = "if a:\n    import b\nelse:\n    with c:\n        from d import e\n\n\ndef f():\n    import g\n"
    assert syntax(text).imports == {"b": (("b", None),), "e": (("d", "e"),)}
    text = "try:\n    import a\nexcept ImportError:\n    import b as a\n"
    assert syntax(text).imports == {"a": (("a", None), ("b", None))}


@pytest.mark.parametrize(
    ("text", "effects"),
    [
        ("f()", 1),
        ("for a in b:\n    c.append(a)", 1),
        ("if a:\n    b = 1", 1),
        ("del a", 1),
        ("a = f()", 0),
        ("'text'", 0),
        ("pass", 0),
        ("import a", 0),
        ("if __name__ == '__main__':\n    f()", 0),
        ("if TYPE_CHECKING:\n    import a", 0),
        ("if typing.TYPE_CHECKING:\n    import a", 0),
    ],
)
def test_statements_that_bind_nothing_or_may_change_anything_are_effects(text, effects):
    assert len(syntax(text).effects) == effects


@pytest.mark.parametrize(("name", "is_package"), [("__init__.py", True), ("it.py", False), ("It.py", False)])
def test_a_module_is_read_once(tmp_path, name, is_package):
    (tmp_path / name).write_text("a = 1\n")
    found = read_syntax("it", tmp_path / name)
    assert found.is_package == is_package
    assert read_syntax("it", tmp_path / name) is found
    (tmp_path / name).write_text("b = 1\n")
    assert list(read_syntax("it", tmp_path / name).definitions) == ["b"]
