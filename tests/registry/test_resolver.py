"""Names of modules, resolved: which modules count, and what their names stand for."""

import ast
from pathlib import Path

import pytest

import gahbench_plugins
from gahbench.registry.behaviour import Resolver, computed_by
from gahbench.registry.source import sources_of
from gahbench.registry.syntax import syntax_of
from gahbench.registry.trees import EFFECTS

MODULE = """
import math
import gahbench
import gahbench_plugins.metrics
import zipfile
from gahbench.evaluation.evaluation import Evaluation
from gahbench.planning.plan import make_plan
from gahbench.registry.behaviour import nothing_of_it
"""


@pytest.fixture
def resolver():
    start = syntax_of(ast.parse(MODULE), "mine", False)
    return Resolver(sources_of("gahbench_plugins", Path(gahbench_plugins.__path__[0]) / "__init__.py"), start)


@pytest.mark.parametrize(
    ("module", "counts"),
    [
        ("gahbench", False),
        ("gahbench.planning.plan", False),
        ("gahbench.contracts.engines", False),
        ("gahbench.contracts.jobs", False),
        ("gahbench.contracts.metrics", True),
        ("gahbench._util.noise", True),
        ("gahbench._util.keys", False),
        ("gahbench.jacobian.autograd", True),
        ("gahbench_plugins.metrics.psnr", True),
        ("mine", True),
        ("math", False),
    ],
)
def test_modules_that_compute_count(resolver, module, counts):
    assert (resolver.followed(module) is not None) == counts


@pytest.mark.parametrize(
    ("path", "definitions", "name", "parts"),
    [
        ("Evaluation.draws", [("gahbench.evaluation.evaluation", "Evaluation")], "Evaluation", 1),
        (
            "gahbench_plugins.metrics.capture.Capture.score",
            [("gahbench_plugins.metrics.capture", "Capture")],
            "Capture",
            4,
        ),
        # What gahbench holds and does not count may move.
        ("make_plan", [], "gahbench:make_plan", 1),
        ("math.pi", [], "math.pi", 2),
        ("zipfile.ZipFile.open", [], "zipfile.ZipFile", 2),
        ("math", [], "math", 1),
        ("gahbench", [], "gahbench", 1),
        ("len", [], "", 0),
        ("nothing_of_it", [], "", 0),
    ],
)
def test_names_stand_for_definitions_or_for_themselves(resolver, path, definitions, name, parts):
    assert resolver.resolve("mine", tuple(path.split("."))) == (definitions, name, parts)


def test_only_plugins_have_effects(resolver):
    assert resolver.effects(("mine", "anything")) == [("mine", EFFECTS)]
    assert resolver.effects(("mine", EFFECTS)) == [("gahbench_plugins", EFFECTS)]
    assert resolver.effects(("gahbench.evaluation.evaluation", "Evaluation")) == []
    assert resolver.effects(("math", "pi")) == []


@pytest.mark.parametrize("module", ["gahbench.nowhere", "nowhere_at_all"])
def test_a_module_that_is_not_there_has_no_digest(module):
    with pytest.raises(ModuleNotFoundError, match=f"there is no module {module}"):
        computed_by(f"{module}:f")
