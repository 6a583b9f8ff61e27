"""BibTeX entries of plugins and of boards."""

import re

import pytest

import gahbench
from gahbench import GahbenchError, cite
from gahbench.testing import check_file

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
    with pytest.raises(GahbenchError, match=r"'bf-cn'; did you mean 'bf-cnn'.*'gahbench list'"):
        cite("bf-cn")


def test_a_board_is_cited_after_its_plugin_file_is_deleted(tmp_path, write_class, figures_not_rendered):
    file = write_class("reference", PLUGIN.format(citation='gahbench.Citation("Noether, Emmy", "Invariants", 1918)'))
    suite = tmp_path / "tiny.yaml"
    suite.write_text(
        "name: tiny\ndatasets: [discs: {size: 8}]\nentrants: [identity, mine, 'oracle-threshold[haar]']\n"
        "baseline: oracle-threshold[haar]\nscoring: {images: 2, sigmas: [0.1], metrics: [psnr]}\n"
    )
    gahbench.run(suite, tmp_path / "out", engine="inline", plugins=[file])
    file.unlink()
    expected = ["donoho1994ideal", "kadkhodaie2024generalization", "mallat1989theory", "noether1918invariants"]
    assert keys(cite(tmp_path / "out")) == ["gahbench", *expected]
    suite.write_text(suite.read_text().replace("mine, ", ""))
    gahbench.run(suite, tmp_path / "out", engine="inline")
    assert keys(cite(tmp_path / "out")) == ["gahbench", *expected[:-1]]


def test_an_invalid_citation_fails_the_check(write_class):
    (report,) = check_file(write_class("reference", PLUGIN.format(citation="'Noether 1918'")))
    assert report.failed == ["citations are valid"]
