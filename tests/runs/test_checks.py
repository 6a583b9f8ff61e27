"""Checks of rows have a version: those of earlier code are done again, and nothing else is."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from tiny_runs import run, run_and_list

import gahbench
from gahbench._util.sealed import parse_sealed, write_sealed
from gahbench.planning.units import CHECKS_VERSION
from gahbench.report.tables import markdown
from gahbench.runs.collect import collect
from gahbench.store.store import UNCHECKED, Store

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered")


def records(out):
    found = {}
    for file in sorted((out / "units").glob("score-*/done.json")):
        metric = json.loads((file.parent / "unit.json").read_text())["metric"]
        found[file.parent.name] = (metric, parse_sealed(file.read_bytes()))
    return found


def test_checks_by_other_code_alone_are_done_again(write_suite, out):
    first = gahbench.load_results(out)
    before = records(out)
    checked = {name for name, (metric, _) in before.items() if metric == "psnr"}
    assert len(checked) == 3
    for name in checked:
        file = out / "units" / name / "done.json"
        done = parse_sealed(file.read_bytes())
        assert done["checks"]["version"] == CHECKS_VERSION
        done["checks"] = {"version": CHECKS_VERSION - 1, "code": "earlier", "images": ""}
        write_sealed(file, {**done, "marks": ["is found by earlier rules"]})
    collect(out)
    results = gahbench.load_results(out)
    assert f"3 of 3 rows were checked by earlier rules (version {CHECKS_VERSION - 1}; today" in markdown(results)
    assert "flagged: is found by earlier rules" in markdown(results)
    again, finished = run_and_list(write_suite(), out)
    assert {unit.folder for unit in finished} == checked
    after = records(out)
    for name, (metric, done) in before.items():
        assert after[name][1]["files"] == done["files"]
        assert after[name][1].get("seconds") == done["seconds"]
        if metric == "psnr":
            assert after[name][1]["checks"]["version"] == CHECKS_VERSION
            assert after[name][1]["marks"] == []
    assert not any((out / "unchecked").iterdir())
    pd.testing.assert_frame_equal(first.scores, again.scores)
    assert "earlier rules" not in markdown(again.results)
    assert run_and_list(write_suite(), out)[1] == []


def test_scores_whose_checks_were_not_done_again_stay_on_the_board(out):
    scores = gahbench.load_results(out).scores
    before = records(out)
    assert Store(out).put_away([name for name, (metric, _) in before.items() if metric == "psnr"], UNCHECKED) == 3
    collect(out)
    pd.testing.assert_frame_equal(gahbench.load_results(out).scores, scores)
    assert records(out).keys() == before.keys()


def test_boards_say_where_the_test_images_may_be_known(write_suite, tmp_path):
    results = run(write_suite(("images: 3", "images: 6"), ("discs:", "gaussian-field:")), tmp_path / "out").results
    line = "Rows that know the test images cannot be told from others"
    assert line not in markdown(results)
    assert line in markdown(replace(results, checks=results.checks.assign(images="")))
