"""The guide to plugins: its examples are whole files that work, and it names all that plugins may use."""

import importlib
import inspect
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import yaml

from gahbench import Basis, Dataset, Engine, Job, Metric, Reference, Registry, Scores, Tracker, TrainingData, Truth
from gahbench.board.results import load_results
from gahbench.contracts.preparation import Preparable
from gahbench.evaluation import Evaluation, LocalFilters
from gahbench.testing import check_file, check_plugin

GUIDE = (Path(__file__).parents[2] / "plugins" / "README.md").read_text(encoding="utf-8")
NOUNS = ("architecture", "dataset", "reference", "basis", "metric", "engine", "tracker")
PACKAGES = ("gahbench", *(f"gahbench.{room}" for room in ("evaluation", "jacobian", "networks", "sampling", "testing")))


def examples():
    """Return the files of the guide, by name: the first line of each is its name."""
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", GUIDE, flags=re.DOTALL)
    return dict(blocks)


def section(noun):
    """Return the part of the guide about a noun."""
    article = "An" if noun[0] in "aeiou" else "A"
    return GUIDE.split(f"\n## {article} {noun}\n")[1].split("\n## ")[0]


def words(noun):
    """Return all words in code in the tables and paragraphs of a section."""
    prose = re.sub(r"```.*?```", "", section(noun), flags=re.DOTALL)
    return set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", prose))))


@pytest.fixture
def folder(tmp_path):
    """All examples, saved under their names."""
    place = tmp_path / "from_guide"
    place.mkdir()
    for name, code in examples().items():
        (place / name).write_text(code, encoding="utf-8")
    return place


@pytest.mark.parametrize("noun", NOUNS)
def test_the_example_of_each_noun_keeps_its_contract(folder, noun):
    (name,) = re.findall(r"```python\n# (\w+\.py)\n", section(noun))
    (report,) = check_file(folder / name)
    assert report.kind == noun
    assert report.passed, str(report)


def test_there_is_no_other_python_in_the_guide():
    assert len(examples()) == GUIDE.count("```python") == len(NOUNS)


def test_all_seven_run_in_one_suite_by_the_command_of_the_guide(folder, command, tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL)
    suite = tmp_path / "mine.yaml"
    suite.write_text(text, encoding="utf-8")
    (line,) = re.findall(r"`gahbench run (mine\.yaml [^`]*)`", GUIDE)
    out = tmp_path / "out"
    arguments = line.replace("mine.yaml", str(suite)).replace("FOLDER", str(folder)).split()
    status, printed, stderr = command("run")(*arguments, "--out", out)
    assert status == 0, stderr
    results = load_results(out)
    assert results.failures.empty
    content = yaml.safe_load(text)
    assert len(set(results.scores["entrant"])) == len(content["entrants"])
    assert {"psnr", "noise-left[edges=0.2]", "noise-left[edges=0.2].edges"} <= set(results.scores["metric"])
    bases = ("diagonal-wiener[walsh,images=128]", "diagonal-wiener[wavelet[db4,levels=2]]", "oracle-threshold[walsh]")
    for part in ("ramps", "two-layer", *bases, "noise-left[edges=0.2]"):
        assert part in printed
    # The tracker has the last validation of the one network.
    assert "two-layer[width=8] on ramps[size=16] step 200 validation_psnr " in (out / "curves.txt").read_text()
    # On this family the best denoiser is known, and no error is below it.
    board = results.leaderboard(full=True).set_index("entrant")
    assert board["psnr"].idxmax() == "optimal"


def test_optimal_has_a_jacobian_on_the_dataset_of_the_guide(folder):
    (report,) = check_file(folder / "ramps.py")
    assert "traces of optimal filters are those of the posterior" in {finding.check for finding in report.findings}


@pytest.mark.parametrize("basis", ["walsh", "pca", "graph-laplacian", "patch-graph"])
def test_a_metric_fits_a_basis_as_the_guide_says(tmp_path, folder, basis):
    (snippet,) = re.findall(r"\n((?: {4}.*\n)*.*gahbench\.TrainingData\(evaluation.*\n(?: {4}.*\n)*)", GUIDE)
    body = re.sub("^    ", "        ", snippet, flags=re.MULTILINE).replace("threshold", "0.1")
    file = tmp_path / "mine.py"
    file.write_text(
        "import copy\nfrom typing import Annotated\nimport gahbench\n\n\n@gahbench.hookimpl\n"
        "def register_metrics(register):\n    register('energy', Energy)\n\n\nclass Energy(gahbench.Metric):\n"
        f"    def __init__(self, basis: Annotated[gahbench.Basis, gahbench.Names('basis', default='{basis}')]):\n"
        "        self.basis = basis\n\n    def score(self, evaluation):\n"
        f"{body}        coefficients = adapted.analysis(evaluation.clean).flatten(1)\n"
        "        return gahbench.Scores.per_image(coefficients.square().sum(1))\n"
    )
    registry = Registry((file, folder))
    report = check_plugin(registry.get("metric", "energy"), registry)
    assert report.passed, str(report)
    assert "is deterministic where it has a value" in {finding.check for finding in report.findings}, str(report)


CONTRACTS = {
    "dataset": (Dataset, Preparable),
    "reference": (Reference, Preparable),
    "basis": (Basis, Preparable),
    "metric": (Metric, Preparable, Evaluation, LocalFilters, Scores),
    "engine": (Engine, Job),
    "tracker": (Tracker,),
}


def members(contract):
    """Return the names of what a class offers, fields of its constructor included, but not what all nouns have."""
    own = {name for name in vars(contract) if not name.startswith("_")}
    given = {field.name for field in fields(contract)} if is_dataclass(contract) else set()
    return {name for name in own | given if not name.startswith("_")} - {"citation", "label_parameters", "granted"}


@pytest.mark.parametrize("noun", CONTRACTS)
def test_all_members_of_a_contract_are_in_the_section_of_its_noun(noun):
    for contract in CONTRACTS[noun]:
        assert sorted(members(contract) - words(noun)) == [], contract.__name__


@pytest.mark.parametrize("contract", [Truth, TrainingData])
def test_what_references_are_handed_is_in_their_section(contract):
    names = {field.name for field in fields(contract)} if is_dataclass(contract) else members(contract)
    assert sorted(names - words("reference")) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_the_table_of_public_names_has_just_those_that_there_are(package):
    tables = GUIDE.split("\n## Public names\n")[1].split("\n## ")[0]
    table = tables.split(f"\n`{package}`\n")[1].split("\n\n`")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    listed = [name for cell in first for name in re.findall(r"`(\w+)`", cell)]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(importlib.import_module(package).__all__)


def public():
    return [(package, name) for package in PACKAGES for name in importlib.import_module(package).__all__]


def described(text, heading="Parameters"):
    """Return the names that a section of a numpydoc docstring describes."""
    found = re.search(rf"{heading}\n-+\n(.*?)(\n\n\w+\n-+\n|\Z)", text, flags=re.DOTALL)
    lines = [line for line in (found[1].splitlines() if found else []) if line and not line.startswith(" ")]
    return {part.strip(" *") for line in lines for part in line.split(" : ")[0].split(",")}


@pytest.mark.parametrize(("package", "name"), public())
def test_every_public_name_can_be_imported_and_is_documented(package, name):
    item = getattr(importlib.import_module(package), name)
    if not (inspect.isclass(item) or inspect.isroutine(item)):
        # A constant or a type: the table of the guide says what it is.
        return
    text = inspect.getdoc(item)
    assert text
    assert text.splitlines()[0].endswith(".")
    if inspect.isroutine(item):
        assert described(text) == set(inspect.signature(item).parameters)
    elif is_dataclass(item):
        # What is kept inside, and what a plugin has no use for, begins with an underscore.
        assert described(text) == {field.name for field in fields(item) if not field.name.startswith("_")}
