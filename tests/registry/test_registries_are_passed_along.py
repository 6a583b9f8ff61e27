"""Registries are passed along: one that is made on the way, as by a plugin's constructor, takes no other's place."""

from pathlib import Path

import pytest
from sample_files import HALF

import gahbench
from gahbench.registry.registry import Registry
from gahbench.testing import check_configured, check_file

CALLS_CREATE = """
import gahbench
import torch

@gahbench.hookimpl
def register_datasets(register):
    register("flat", Flat)

@gahbench.hookimpl
def register_references(register):
    register("through-sym4", Through)

class Flat(gahbench.Dataset):
    "Flat images, for which a basis is made."
    def __init__(self, size: int = 16):
        self.size = size
        self.basis = gahbench.create("basis", "sym4")
    @property
    def shape(self):
        return (1, self.size, self.size)
    @property
    def card(self):
        return gahbench.Card("made here", "CC0-1.0")
    def images(self, split, count, start=0):
        draws = [gahbench.generator("data", 0, split, place) for place in range(start, start + count)]
        levels = torch.stack([torch.rand((), generator=draw) for draw in draws])
        return levels[:, None, None, None].expand(count, *self.shape).clone()

class Through(gahbench.Reference):
    "Analysis and synthesis, which change nothing."
    def __init__(self):
        self.basis = gahbench.create("basis", "sym4")
    def denoise(self, noisy, sigma, truth):
        return self.basis.synthesis(self.basis.analysis(noisy))
"""
SUITE = """
name: mixed
datasets: [flat]
entrants: [through-sym4, half, "cycle-spin[half,shifts=2]"]
scoring: {sigmas: [0.1], images: 2, metrics: [psnr, "distance[to=half]"]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = tmp_path / "plugins"
    files.mkdir()
    (files / "calls_create.py").write_text(CALLS_CREATE)
    (files / "half.py").write_text(HALF)
    return files


@pytest.mark.parametrize("engine", ["inline[trusted=true]", "processes"])
def test_a_constructor_that_calls_create_leaves_the_others_their_plugins(folder, tmp_path, engine):
    suite = tmp_path / "mixed.yaml"
    suite.write_text(SUITE)
    outcome = gahbench.run(suite, tmp_path / "out", plugins=[folder], engine=engine)
    assert outcome.results.failures.empty
    assert outcome.failed == outcome.waiting == 0
    assert set(outcome.scores["entrant"]) == {"through-sym4", "half", "cycle-spin[half,shifts=2]"}


def test_checks_of_a_file_find_what_it_names(folder):
    file = folder / "half.py"
    file.write_text(HALF.replace('register("half", Half)', 'register("half", Half)\n    register("quarter", Quarter)'))
    file.write_text(
        file.read_text().replace("import gahbench\n", "import gahbench\nfrom typing import Annotated\n", 1)
        + "class Quarter(gahbench.Reference):\n"
        "    def __init__(self, inner: Annotated[gahbench.Reference, gahbench.Names('reference', default='half')]):\n"
        "        gahbench.create('reference', 'identity')\n"
        "        self.inner = inner\n"
        "    def denoise(self, noisy, sigma, truth):\n"
        "        return self.inner.denoise(noisy, sigma, truth) / 2\n"
    )
    reports = check_file(file)
    assert [report.label for report in reports] == ["half", "quarter"]
    assert all(report.passed for report in reports), "\n".join(map(str, reports))


def test_two_registries_do_not_share_plugins(folder):
    ours, theirs = Registry((folder,)), Registry()
    configured = ours.configure("reference", "cycle-spin[half,shifts=1]")
    assert "half" not in theirs.names("reference")
    gahbench.create("reference", "identity")
    assert type(configured.build().reference).__name__ == "Half"
    assert check_configured(configured).passed
