"""Tests of the versions of frozen suites."""

import hashlib
from dataclasses import replace

import fake_results
import numpy as np
import pytest
from sample_files import REFERENCES

import gahbench
from gahbench._util.errors import ResultsError, SuiteError
from gahbench.board.combined import combine
from gahbench.planning.suite_files import SuiteVersion, suite_version

FROZEN = ("name: tiny\n", "name: tiny\nversion: 2\n")
VERSION = SuiteVersion(2, hashlib.sha256(REFERENCES.replace(*FROZEN).encode()).hexdigest())


@pytest.mark.parametrize(
    ("text", "changes", "is_frozen"),
    [
        ("name: a\nversion: 2\n", (), True),
        ("name: a\nversion: 2\n", ("--entrant identity", "--only identity", "--dataset discs"), True),
        ("name: a\nversion: 2\n", ("--set training.steps=1",), False),
        ("name: a\n", (), False),
        ("", (), False),
    ],
)
def test_a_suite_is_frozen_if_it_states_a_version_and_no_setting_was_changed(text, changes, is_frozen):
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert suite_version(text, changes) == (SuiteVersion(2, digest) if is_frozen else None)


@pytest.mark.usefixtures("figures_not_rendered")
def test_a_board_names_the_version_and_the_digest_of_its_suite(tmp_path):
    suite, out = tmp_path / "tiny.yaml", tmp_path / "out"
    suite.write_text(REFERENCES.replace(*FROZEN), encoding="utf-8")
    results = gahbench.run(suite, out, engine="inline").results
    assert results.version == gahbench.load_results(out).version == VERSION
    assert f"version 2, SHA-256 {VERSION.digest[:12]}" in (out / "leaderboard.md").read_text(encoding="utf-8")
    assert f"note = {{Version {gahbench.__version__}; suite tiny, version 2, SHA-256 {VERSION.digest}}}" in (
        gahbench.cite(out)
    )
    suite.write_text(REFERENCES.replace(FROZEN[0], "name: tiny\nversion: 0\n"), encoding="utf-8")
    with pytest.raises(SuiteError, match=r"tiny.yaml:3: version"):
        gahbench.run(suite, tmp_path / "other", engine="inline")


def test_results_of_different_versions_of_a_suite_are_not_combined():
    scores = fake_results.rows("d", "a", "classical", np.full((6, 4), 30.0))
    other_scores = fake_results.rows("d", "b", "classical", np.full((6, 4), 31.0))
    first, second = (
        fake_results.results(rows, datasets=[fake_results.dataset("d") | dict.fromkeys(("protocol", "notes"), "")])
        for rows in (scores, other_scores)
    )
    frozen = replace(first, version=VERSION)
    assert combine({"first": frozen, "second": replace(second, version=VERSION)}).version == VERSION
    assert combine({"first": frozen, "second": second}).version is None
    with pytest.raises(ResultsError, match=r"first follows fake version 2, .* second follows version 3"):
        combine({"first": frozen, "second": replace(second, version=SuiteVersion(3, "0" * 64))})
