"""Suites whose results would decide claims that are undecided or not measured."""

import math
from dataclasses import replace

from fake_claims import claim, rows, table, verdict

from gahbench.board.claim_suites import deciding_suites, format_suite
from gahbench.contracts.claims import Region
from gahbench.planning.suite import load_suite


def test_a_deciding_suite_has_enough_images(tmp_path, builtin):
    undecided = verdict(claim(Region(above=9.5)), table(rows("net", [30, 20, 10], spread=1.0, images=12)))
    assert undecided.outcome == "undecided"
    ((content, names),) = deciding_suites([undecided])
    assert names == ["paper/one"]
    assert content["scoring"]["images"] == math.ceil(undecided.decisive.needs.factor * 24)
    file = tmp_path / "decide.yaml"
    file.write_text(format_suite(content, names), encoding="utf-8")
    assert load_suite(file, builtin).scoring.images == content["scoring"]["images"]


def test_claims_with_equal_training_share_a_suite_and_decided_claims_have_none(tmp_path, builtin):
    scores = table(rows("net", [9.0] * 3))
    unmeasured = [verdict(claim(Region(above=0), metric, suite=suite), scores) for metric, suite in
               (("ssim", "quick"), ("slope", "quick"), ("spectrum.trace", "basis"))]  # fmt: skip
    decided = verdict(claim(Region(above=0)), scores)
    impossible = verdict(replace(claim(Region(above=0), "pspc"), missing="a reference"), scores)
    suites = deciding_suites([*unmeasured, decided, impossible])
    assert [content["name"] for content, _ in suites] == ["quick", "basis"]
    assert sum(len(names) for _, names in suites) == 3
    other = {**deciding_suites(unmeasured[:1])[0][0], "datasets": ["rays"]}
    merged = deciding_suites([unmeasured[0], replace(unmeasured[1], claim=replace(unmeasured[1].claim, suite=other))])
    ((content, _),) = merged
    assert "rays" in content["datasets"]
    file = tmp_path / "decide.yaml"
    file.write_text(format_suite(content, []), encoding="utf-8")
    assert {dataset.plugin.name for dataset in load_suite(file, builtin).datasets} == {
        "c-alpha",
        "discs",
        "faces",
        "rays",
    }


def suite_with_samples(count):
    """Return a suite with a number of samples."""
    return {
        "name": "sampled",
        "datasets": ["discs"],
        "entrants": ["unet"],
        "scoring": {"sigmas": [0.1], "images": 12, "metrics": ["psnr"], "sampling": {"count": count, "beta": 0.1}},
    }


def test_a_united_suite_has_the_largest_number_of_samples():
    scores = table(rows("net", [30, 20, 10], spread=1.0, images=12))
    verdicts = [verdict(claim(Region(above=9.5), suite=suite_with_samples(count)), scores) for count in (8, 40, 16)]
    ((content, names),) = deciding_suites(verdicts)
    assert len(names) == 3
    assert content["scoring"]["sampling"] == {"count": math.ceil(verdicts[0].decisive.needs.factor * 40), "beta": 0.1}
    # Suites that differ in other settings of sampling cannot be merged.
    other = {
        **suite_with_samples(8),
        "scoring": {**suite_with_samples(8)["scoring"], "sampling": {"count": 8, "beta": 0.5}},
    }
    assert len(deciding_suites([verdicts[0], verdict(claim(Region(above=9.5), suite=other), scores)])) == 2


def test_needs_for_images_with_sources_are_stated_in_sources():
    scores = table(rows("net", [30, 20, 10], spread=1.0, images=12), sources={"discs": "0 0 1 1 2 2 3 3 4 4 5 5"})
    undecided = verdict(claim(Region(above=9.9)), scores)
    assert undecided.outcome == "undecided"
    assert undecided.decisive.needs.kind == "sources"
    assert "× as many sources of images" in str(undecided.decisive.needs)
    assert deciding_suites([undecided]) == []
