"""BibTeX entries of plugins and of boards."""

import re
from pathlib import Path

import pytest

import gahbench
from gahbench._util.errors import PluginError
from gahbench.explore.bibliography import cite
from gahbench.testing import check_file

ROOT = Path(__file__).parents[2]
PLUGIN = "citation = {citation}\ndef denoise(self, noisy, sigma, truth): return 0.9 * noisy"


def keys(text):
    return re.findall(r"^@\w+{(\w+),$", text, re.MULTILINE)


def test_plugins_are_cited_with_the_plugins_in_their_parameters():
    assert keys(cite("oracle-threshold[sym4]")) == ["donoho1994ideal", "mallat1989theory"]
    # Both a basis and a reference are named bandlet.
    assert keys(cite("bandlet")) == ["dossal2011bandlet", "peyre2008orthogonal"]
    # `images` has a required parameter, and cites the same publication as `faces`.
    assert keys(cite("images")) == ["kadkhodaie2024generalization"]
    assert cite("psnr") == ""


def test_a_target_that_is_neither_folder_nor_plugin_raises():
    with pytest.raises(PluginError, match="neither a results folder nor a plugin; did you mean 'bf-cnn'") as raised:
        cite("bf-cn")
    # The message suggests close names only, and the command that lists all names.
    assert "'gahbench list'" in str(raised.value)
    assert "nl-means" not in str(raised.value)


def test_a_board_is_cited_after_its_plugin_file_is_deleted(tmp_path, write_class, figures_not_rendered):
    file = write_class("reference", PLUGIN.format(citation='gahbench.Citation("Noether, Emmy", "Invariants", 1918)'))
    text = (
        "name: tiny\ndatasets: [discs: {size: 8}]\nentrants: [identity, mine, 'oracle-threshold[haar]']\n"
        "baseline: oracle-threshold[haar]\nscoring: {images: 2, sigmas: [0.1], metrics: [psnr]}\n"
    )
    suite = tmp_path / "tiny.yaml"
    suite.write_text(text)
    gahbench.run(suite, tmp_path / "out", engine="inline", plugins=[file])
    file.unlink()
    expected = ["donoho1994ideal", "kadkhodaie2024generalization", "mallat1989theory", "noether1918invariants"]
    assert keys(cite(tmp_path / "out")) == ["gahbench", *expected]
    board = (tmp_path / "out" / "leaderboard.md").read_text(encoding="utf-8")
    assert "Noether" not in board
    suite.write_text(text.replace("mine, ", ""))
    gahbench.run(suite, tmp_path / "out", engine="inline")
    assert keys(cite(tmp_path / "out")) == ["gahbench", *expected[:-1]]


@pytest.mark.parametrize("folder", ["generalization", "optimal", "oracles", "quick", "zoo"])
def test_published_boards_can_be_cited(folder):
    text = cite(ROOT / "results" / folder)
    assert {"gahbench", "kadkhodaie2024generalization"} <= set(keys(text))


def test_an_invalid_citation_fails_the_check(write_class):
    (report,) = check_file(write_class("reference", PLUGIN.format(citation="'Noether 1918'")))
    assert report.failed == ["citations are valid"]
