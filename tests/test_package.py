"""The package as it is released: its description, its versions, and the Pythons and packages that it names."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

import gahbench

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_description_on_package_indexes_has_no_relative_link():
    description = importlib.metadata.metadata("gahbench").get_payload()
    links = re.findall(r"\]\(<?([^)>]+)", description)
    assert len(links) > 10
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def test_changelog_and_citation_name_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changelog, flags=re.MULTILINE)[1] == gahbench.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == gahbench.__version__
    assert citation["title"] == PROJECT["name"]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]


def test_ci_runs_on_all_pythons_of_the_package():
    prefix = "Programming Language :: Python :: "
    pythons = [line.removeprefix(prefix) for line in PROJECT["classifiers"] if line.startswith(prefix)]
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert {job: entry["strategy"]["matrix"]["python"] for job, entry in workflow["jobs"].items()} == {
        "test": pythons,
        "package": pythons,
    }


def test_every_dependency_has_a_lowest_version_and_no_highest():
    requirements = [Requirement(text) for text in PROJECT["dependencies"]]
    assert {entry.name: [part.operator for part in entry.specifier] for entry in requirements} == {
        entry.name: [">="] for entry in requirements
    }
