"""``gahbench claims`` on the published results: laws of all verdicts, tables and filters."""

import csv
import io
import json
import re
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from published_pages import ROOT, load_results

import gahbench
from gahbench.report.claims import GENERATED, export_claims, refresh

QUICK = ROOT / "results" / "quick"


@pytest.fixture
def claims(command):
    return command("claims")


@pytest.fixture(scope="module")
def verdicts():
    """The verdicts of all published results, which other files load too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gahbench.board.claims.load_results", lambda folder: load_results(folder.name))
        return gahbench.claims(ROOT / "results")


def test_tables_have_the_values_of_the_board_and_the_chosen_claims(claims):
    status, printed, _ = claims(QUICK, "-c", "kadkhodaie-2024/discs-*", "--format", "json", "--all")
    records = {record["claim"].partition("/")[2]: record for record in json.loads(printed)}
    assert (status, list(records)) == (0, ["discs-above-half", "discs-grow", "discs-slope"])
    assert records["discs-grow"]["outcome"] == "not measured"
    case, board = records["discs-slope"], load_results("quick").leaderboard(full=True)
    row = board[(board["dataset"] == case["dataset"]) & (board["entrant"] == case["entrant"])].iloc[0]
    assert case["value"] == pytest.approx(row["slope"])
    assert case["low"] <= row["slope_low"] < row["slope_high"] <= case["high"]
    _, printed, hidden = claims(QUICK, "-c", "kadkhodaie-2024/discs-*", "--format", "csv", "--cases")
    cases = list(csv.DictReader(io.StringIO(printed)))
    assert {case["claim"] for case in cases} == {"kadkhodaie-2024/discs-slope"}
    assert len(cases) > 1
    assert "2 claims" in hidden
    assert "7 not measured" in claims("-c", "mohan-2020")[1]


def test_claims_are_loaded_from_files_and_plugins(claims, command, tmp_path):
    file = tmp_path / "mine.yaml"
    text = (ROOT / "plugins" / "claims" / "chang-2000.yaml").read_text(encoding="utf-8")
    file.write_text(text.replace("above: 0", "above: 9"), encoding="utf-8")
    printed = claims(ROOT / "results" / "oracles", "-p", file, "-c", "mine", "-c", "chang-2000")[1]
    assert printed.startswith("2 claims: 1 holds, 1 fails\n")
    assert "mine" in command("list")("claims", "-p", file)[1]
    assert "above-sure" in command("describe")("chang-2000")[1]


def test_the_published_table_of_claims_is_up_to_date(verdicts):
    text = (ROOT / "results" / "claims.md").read_text(encoding="utf-8")
    measured = [verdict for verdict in verdicts if verdict.outcome != "not measured"]
    head, _, tables = text.partition(f"{GENERATED}\n\n## Verdicts\n\n")
    assert tables == export_claims(measured, "markdown")
    assert head == refresh(head, verdicts)
    assert {verdict.name for verdict in measured} >= set(re.findall(r"`([\w-]+/[\w-]+)` \(", head))


def test_verdicts_are_those_of_their_intervals(verdicts):
    ranks = {"fails": 0, "undecided": 1, "holds": 2, "not measured": 3}
    for verdict in verdicts:
        outcomes = [case.outcome for case in verdict.cases]
        assert verdict.outcome == min([*outcomes, "not measured"], key=ranks.get), verdict.name
        for case in verdict.cases:
            value = case.estimate
            assert case.outcome == (
                "not measured" if case.count == 0 else verdict.claim.region.outcome(value.low, value.high)
            )
            assert bool(case.reason) == np.isnan(value.low), (verdict.name, case)
            assert np.isnan(value.low) or value.low <= value.value <= value.high


def test_values_of_claims_are_the_means_of_the_scores(verdicts):
    """Recompute claims about means, and about their differences from another entrant, from `scores.parquet`."""
    compared, tables = 0, {}
    for verdict in verdicts:
        measure = verdict.claim.measure
        is_plain = not (measure.over or measure.number) and measure.sigma.take in ("each", "mean")
        for case in verdict.cases if is_plain and "*" not in measure.metric else ():
            if case.folder not in tables:
                table = pd.read_parquet(ROOT / "results" / case.folder / "scores.parquet")
                tables[case.folder] = table.set_index(["dataset", "entrant", "metric", "split"]).sort_index()
            at, _, other = case.at.removeprefix("minus ").partition(" minus ") if measure.minus else (case.at, "", "")
            entrants = [case.entrant, *filter(None, [other or (measure.minus and at)])]
            is_known = all(
                (case.dataset, name, measure.metric, measure.split) in tables[case.folder].index for name in entrants
            )
            if case.outcome == "not measured" or not is_known:
                continue
            rows = [tables[case.folder].loc[(case.dataset, name, measure.metric, measure.split)] for name in entrants]
            if at.startswith("σ = "):
                sigma = float(Fraction(at.removeprefix("σ = ").rstrip(",")))
                rows = [table[np.isclose(table["sigma"], sigma)] for table in rows]
            value, *others = (table["value"].mean() for table in rows)
            assert case.estimate.value == pytest.approx(value - sum(others)), (verdict.name, case)
            compared += 1
    assert compared >= 60
