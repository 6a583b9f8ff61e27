"""BibTeX of plugins by name and of boards."""

import json
import re
from pathlib import Path

import pytest

import gahbench
from gahbench._util.errors import PluginError
from gahbench.explore.bibliography import cite
from gahbench.runs.removal import remove
from gahbench.testing import check_file

ROOT = Path(__file__).parents[2]
PLUGIN = "citation = {citation}\ndef denoise(self, noisy, sigma, truth): return 0.9 * noisy"


def has_no_works(file):
    return not json.loads(file.read_bytes())["citations"]


def keys(text):
    return re.findall(r"^@\w+{(\w+),$", text, re.MULTILINE)


def test_of_names_and_of_what_their_parameters_name():
    assert keys(cite("oracle-threshold[sym4]")) == ["donoho1994ideal", "mallat1989theory"]
    # A basis and a reference have this name.
    assert keys(cite("bandlet")) == ["dossal2011bandlet", "peyre2008orthogonal"]
    # It needs a path, and reads as "faces" does.
    assert keys(cite("images")) == ["kadkhodaie2024generalization"]
    assert cite("psnr") == ""


def test_what_is_neither_folder_nor_plugin_is_refused():
    with pytest.raises(PluginError, match="neither a results folder nor a plugin; did you mean 'bf-cnn'") as it:
        cite("bf-cn")
    # Near names alone, and how all are listed.
    assert "'gahbench list'" in str(it.value)
    assert "nl-means" not in str(it.value)


def test_a_board_has_the_works_of_its_plugins_where_these_are_no_more(tmp_path, write_class, figures_not_rendered):
    file = write_class("reference", PLUGIN.format(citation='gahbench.Citation("Noether, Emmy", "Invariants", 1918)'))
    text = (
        "name: tiny\ndatasets: [discs: {size: 8}]\nentrants: [identity, mine, 'oracle-threshold[haar]']\n"
        "baseline: oracle-threshold[haar]\nscoring: {images: 2, sigmas: [0.1], metrics: [psnr]}\n"
    )
    suite = tmp_path / "tiny.yaml"
    suite.write_text(text)
    gahbench.run(suite, tmp_path / "out", engine="inline[trusted=true]", plugins=[file])
    file.unlink()
    expected = ["donoho1994ideal", "kadkhodaie2024generalization", "mallat1989theory", "noether1918invariants"]
    assert keys(cite(tmp_path / "out")) == ["gahbench", *expected]
    written = (tmp_path / "out" / "leaderboard.md").read_text(encoding="utf-8")
    assert "references: `gahbench cite DIR`." in written
    assert "Noether" not in written
    remove(tmp_path / "out", ["mine"])
    assert keys(cite(tmp_path / "out")) == ["gahbench", *expected[:-1]]


#: Boards that were written before boards recorded the works of their plugins: these are found by labels.
UNRECORDED = [file.parent for file in sorted(ROOT.glob("results/*/results.json")) if has_no_works(file)]


@pytest.mark.parametrize("folder", [*UNRECORDED, ROOT / "results" / "quick"], ids=lambda folder: folder.name)
def test_published_boards_can_be_cited(folder):
    text = cite(folder)
    assert "%" not in text
    assert {"gahbench", "kadkhodaie2024generalization"} <= set(keys(text))


def test_a_wrong_citation_fails_the_check(write_class, no_stand_in):
    (report,) = check_file(write_class("reference", PLUGIN.format(citation="'Noether 1918'")))
    assert report.failed == ["the works that it follows can be cited"]
