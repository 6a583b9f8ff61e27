"""``gahbench claims`` on the published results: tables and filters."""

import csv
import io
import json
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from published_pages import ROOT, load_results

import gahbench
from gahbench.board.claims import Table, judge, measure_cases
from gahbench.report.claims import GENERATED, export_claims


@pytest.fixture
def claims(command):
    return command("claims")


def test_claims_are_printed_as_json_and_csv(claims):
    folder = ROOT / "results" / "quick"
    status, printed, stderr = claims(folder, "-c", "kadkhodaie-2024/discs-*", "--format", "json", "--all")
    assert status == 0, stderr
    claims_by_id = {claim["claim"].partition("/")[2]: claim for claim in json.loads(printed)}
    assert list(claims_by_id) == ["discs-above-half", "discs-grow", "discs-slope"]
    assert claims_by_id["discs-above-half"]["outcome"] == "not measured"
    case = claims_by_id["discs-slope"]
    board = load_results("quick").leaderboard(full=True)
    row = board[(board["dataset"] == case["dataset"]) & (board["entrant"] == case["entrant"])].iloc[0]
    assert case["value"] == pytest.approx(row["slope"])
    assert case["low"] <= row["slope_low"] < row["slope_high"] <= case["high"]
    status, printed, _ = claims(folder, "-c", "discs-slope", "--format", "csv", "--cases")
    cases = list(csv.DictReader(io.StringIO(printed)))
    assert len(cases) > 1
    assert float(cases[0]["value"]) == pytest.approx(case["value"])


def test_without_results_claims_are_listed_as_not_measured(claims):
    status, printed, _ = claims("-c", "mohan-2020")
    assert status == 0
    assert printed.startswith("7 claims: 7 not measured\n")
    assert "suite basis" in printed


def test_claims_are_loaded_from_files_and_plugins(claims, command, tmp_path):
    file = tmp_path / "mine.yaml"
    text = (ROOT / "plugins" / "claims" / "chang-2000.yaml").read_text(encoding="utf-8")
    file.write_text(text.replace("above: 0", "above: 9"), encoding="utf-8")
    status, printed, stderr = claims(ROOT / "results" / "oracles", "-p", file, "-c", "mine", "-c", "chang-2000")
    assert status == 0, stderr
    assert printed.startswith("2 claims: 1 holds, 1 fails\n")
    assert "mine" in command("list")("claims", "-p", file)[1]
    status, printed, _ = command("describe")("chang-2000")
    assert status == 0
    assert "above-sure" in printed
    assert "Chang, Yu & Vetterli" in printed


@pytest.fixture(scope="module")
def verdicts():
    """The verdicts of all published results, which other files load too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gahbench.board.claims.load_results", lambda folder: load_results(folder.name))
        return gahbench.claims(ROOT / "results")


def test_the_published_table_of_claims_is_up_to_date(verdicts):
    text = (ROOT / "results" / "claims.md").read_text(encoding="utf-8")
    measured = [verdict for verdict in verdicts if verdict.outcome != "not measured"]
    assert text.partition(f"{GENERATED}\n\n## Verdicts\n\n")[2] == export_claims(measured, "markdown")


def test_numbers_of_claims_and_publications_on_the_pages_are_those_of_the_verdicts(verdicts):
    sources = Counter(verdict.claim.checked for verdict in verdicts)
    text = " ".join((ROOT / "results" / "claims.md").read_text(encoding="utf-8").split())
    assert (
        f"Among {len(verdicts)} claims, {sources['text']} were compared with a text, {sources['abstract']} with an "
        f"abstract and {sources['code']} with code. The other {sources['unverified']} are unverified"
    ) in text
    measured = {verdict.claim.paper for verdict in verdicts if verdict.outcome != "not measured"}
    assert f"compares {len(measured)} publications" in (ROOT / "results" / "README.md").read_text(encoding="utf-8")


def test_claims_that_results_do_not_measure_are_shown_on_request(claims):
    folder = ROOT / "results" / "quick"
    _, printed, stderr = claims(folder, "-c", "kadkhodaie-2024/discs-*")
    assert "`discs-slope`" in printed
    assert "discs-grow" not in printed
    assert "--all" in stderr
    _, printed, stderr = claims(folder, "-c", "kadkhodaie-2024/discs-*", "--all")
    assert "`discs-grow`" in printed
    assert not stderr


def test_values_of_claims_are_the_means_of_the_scores(verdicts):
    """Recompute claims about plain means from `scores.parquet`."""
    plain = [
        verdict
        for verdict in verdicts
        if not any(getattr(verdict.claim.measure, name) for name in ("minus", "over", "slope", "number"))
        and verdict.claim.measure.sigma.take == "each"
        and "*" not in verdict.claim.measure.metric
    ]
    filters = [("metric", "in", {verdict.claim.measure.metric for verdict in plain})]
    tables = {
        folder: pd.read_parquet(ROOT / "results" / folder / "scores.parquet", filters=filters)
        for folder in {case.folder for verdict in plain for case in verdict.cases}
    }
    checked = 0
    for verdict in plain:
        measure = verdict.claim.measure
        for case in verdict.cases:
            table = tables[case.folder]
            rows = table[
                (table["metric"] == measure.metric)
                & (table["dataset"] == case.dataset)
                & (table["entrant"] == case.entrant)
                & (table["split"] == measure.split)
            ]
            if case.outcome != "not measured" and len(rows):
                is_case = (
                    np.isclose(rows["sigma"], float(Fraction(case.at.removeprefix("σ = "))))
                    if case.at
                    else rows["sigma"].isna()
                )
                assert case.estimate.value == pytest.approx(rows.loc[is_case, "value"].mean())
                checked += 1
    assert checked >= 40


def test_a_claim_fails_if_labels_are_swapped(verdicts):
    (verdict,) = [verdict for verdict in verdicts if verdict.name == "kadkhodaie-2024/directional"]
    results = load_results("basis")
    networks, blurs = ["unet[width=16,levels=2]", "bf-cnn[width=16,layers=8]"], ["gaussian-blur", "local-blur"]
    exchanged = dict(zip([*networks, *blurs], [*blurs, *networks], strict=True))
    scores = results.scores[results.scores["metric"].str.startswith("direction[graph")].copy()
    scores = scores[scores["seed"].isna() | (scores["seed"] == 0)]
    scores["entrant"] = scores["entrant"].replace(exchanged)
    scores["seed"] = pd.NA
    for judged, outcome in ((results, "holds"), (replace(results, scores=scores), "fails")):
        cases = list(measure_cases(verdict.claim, Table("basis", judged)))
        assert judge(verdict.name, verdict.claim, cases).outcome == outcome
