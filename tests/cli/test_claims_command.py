"""``gahbench claims`` on the published results: tables, filters, and suites that would decide."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

import gahbench
from gahbench.board.claim_values import Table
from gahbench.board.claims import judge
from gahbench.report.claims import GENERATED, export_claims

ROOT = Path(__file__).parents[2]


@pytest.fixture
def claims(command):
    return command("claims")


def test_the_claims_of_a_paper_as_json_and_csv(claims):
    status, printed, stderr = claims(ROOT / "results" / "quick", "-c", "kadkhodaie-2024/discs-*", "--format", "json")
    assert status == 0, stderr
    found = {one["claim"].partition("/")[2]: one for one in json.loads(printed)}
    assert list(found) == ["discs-above-half", "discs-grow", "discs-slope"]
    assert found["discs-above-half"]["verdict"] == "not measured"
    case = found["discs-slope"]["cases"][0]
    board = gahbench.load_results(ROOT / "results" / "quick").leaderboard(full=True)
    row = board[(board["dataset"] == case["dataset"]) & (board["entrant"] == case["entrant"])].iloc[0]
    assert case["value"] == pytest.approx(row["slope"])
    assert case["low"] <= row["slope_low"] < row["slope_high"] <= case["high"]
    status, printed, _ = claims(ROOT / "results" / "quick", "-c", "discs-slope", "--format", "csv", "--cases")
    table = list(csv.DictReader(io.StringIO(printed)))
    assert [float(one["value"]) for one in table] == [one["value"] for one in found["discs-slope"]["cases"]]


def test_without_results_all_are_listed_and_none_is_measured(claims):
    status, printed, _ = claims("-c", "mohan-2020")
    assert status == 0
    assert printed.startswith("7 claims: 7 not measured\n")
    assert "suite `basis`" in printed


def test_the_suite_that_would_decide_is_written(claims, tmp_path):
    file = tmp_path / "decide.yaml"
    status, _, stderr = claims("-c", "kadkhodaie-2024/discs-*", "--suite", file)
    assert status == 0
    assert f"wrote {file}, for kadkhodaie-2024/discs-above-half, kadkhodaie-2024/discs-grow" in stderr
    assert yaml.safe_load(file.read_text())["name"] == "basis"
    assert yaml.safe_load((tmp_path / "decide-2.yaml").read_text())["name"] == "optimal"


def test_claims_of_a_file_and_of_a_plugin(claims, command, tmp_path):
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
    return gahbench.claims(ROOT / "results")


def test_the_table_in_the_documents_is_that_of_the_tidy_tables(verdicts):
    text = (ROOT / "results" / "claims.md").read_text(encoding="utf-8")
    assert text.partition(f"{GENERATED}\n\n## Verdicts\n\n")[2] == export_claims(verdicts, "markdown")


def test_values_are_the_means_of_the_tidy_tables(verdicts):
    """Plain means, and differences of two at one noise level, are computed here again."""
    tables = {path.parent.name: pd.read_parquet(path) for path in (ROOT / "results").glob("*/scores.parquet")}
    checked = 0
    for one in verdicts:
        measure = one.claim.measure
        plain = not (measure.minus or measure.over or measure.slope or measure.number) and measure.sigma.take == "each"
        for case in one.cases if plain and "*" not in measure.metric else ():
            table = tables[case.folder]
            rows = table[
                (table["metric"] == measure.metric)
                & (table["dataset"] == case.dataset)
                & (table["entrant"] == case.entrant)
                & (table["split"] == measure.split)
            ]
            if case.outcome != "not measured" and len(rows):
                at = rows["sigma"] == float(case.at.removeprefix("σ = ")) if case.at else rows["sigma"].isna()
                assert case.estimate.value == pytest.approx(rows.loc[at, "value"].mean())
                checked += 1
    assert checked >= 40


def test_with_exchanged_labels_a_claim_fails(verdicts):
    (one,) = [one for one in verdicts if one.name == "kadkhodaie-2024/directional"]
    results = gahbench.load_results(ROOT / "results" / "basis")
    assert judge(one.name, one.claim, [Table("basis", results)]).outcome == "holds"
    networks, blurs = ["unet[width=16,levels=2]", "bf-cnn[width=16,layers=8]"], ["gaussian-blur", "local-blur"]
    names = dict(zip([*networks, *blurs], [*blurs, *networks], strict=True))
    scores = results.scores[results.scores["metric"].str.startswith("direction[graph")].copy()
    scores = scores[scores["seed"].isna() | (scores["seed"] == 0)]
    scores["entrant"] = scores["entrant"].replace(names)
    scores["seed"] = pd.NA
    assert judge(one.name, one.claim, [Table("basis", replace(results, scores=scores))]).outcome == "fails"
