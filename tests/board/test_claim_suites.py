"""Suites that would decide claims."""

import math
from dataclasses import replace

from fake_claims import claim, rows, table, verdict

from gahbench.board.claim_suites import deciding_suites, format_suite
from gahbench.contracts.claims import Region
from gahbench.planning.suite import load_suite


def test_the_suite_that_would_decide_has_the_images_that_are_needed(tmp_path, builtin):
    found = verdict(claim(Region(above=9.5)), table(rows("net", [30, 20, 10], spread=1.0, images=12)))
    assert found.outcome == "undecided"
    ((content, names),) = deciding_suites([found])
    assert names == ["paper/one"]
    assert content["scoring"]["images"] == math.ceil(found.decisive.needs.factor * 24)
    file = tmp_path / "decide.yaml"
    file.write_text(format_suite(content, names), encoding="utf-8")
    assert load_suite(file, builtin).scoring.images == content["scoring"]["images"]


def test_claims_of_one_training_share_a_suite_and_decided_ones_have_none(tmp_path, builtin):
    known = table(rows("net", [9.0] * 3))
    lacking = [verdict(claim(Region(above=0), metric, suite=suite), known) for metric, suite in
               (("ssim", "quick"), ("slope", "quick"), ("spectrum.trace", "basis"))]  # fmt: skip
    decided = verdict(claim(Region(above=0)), known)
    impossible = verdict(replace(claim(Region(above=0), "pspc"), missing="a reference"), known)
    found = deciding_suites([*lacking, decided, impossible])
    assert [content["name"] for content, _ in found] == ["quick", "basis"]
    assert sum(len(names) for _, names in found) == 3
    other = {**deciding_suites(lacking[:1])[0][0], "datasets": ["rays"]}
    joined = deciding_suites([lacking[0], replace(lacking[1], claim=replace(lacking[1].claim, suite=other))])
    ((content, _),) = joined
    assert "rays" in content["datasets"]
    file = tmp_path / "decide.yaml"
    file.write_text(format_suite(content, []), encoding="utf-8")
    assert {one.plugin.name for one in load_suite(file, builtin).datasets} == {"c-alpha", "discs", "faces", "rays"}


def sampled(count):
    """A suite of which a claim on samples needs twice as many, beside images."""
    return {
        "name": "sampled",
        "datasets": ["discs"],
        "entrants": ["unet"],
        "scoring": {"sigmas": [0.1], "images": 12, "metrics": ["psnr"], "sampling": {"count": count, "beta": 0.1}},
    }


def test_a_suite_of_several_claims_has_the_samples_of_the_one_that_needs_most():
    known = table(rows("net", [30, 20, 10], spread=1.0, images=12))
    found = [verdict(claim(Region(above=9.5), suite=sampled(count)), known) for count in (8, 40, 16)]
    ((content, names),) = deciding_suites(found)
    assert len(names) == 3
    assert content["scoring"]["sampling"] == {"count": math.ceil(found[0].decisive.needs.factor * 40), "beta": 0.1}
    # Suites that sample otherwise cannot be one.
    other = {**sampled(8), "scoring": {**sampled(8)["scoring"], "sampling": {"count": 8, "beta": 0.5}}}
    assert len(deciding_suites([found[0], verdict(claim(Region(above=9.5), suite=other), known)])) == 2


def test_more_photographs_are_not_more_patches_of_the_same_ones():
    known = table(rows("net", [30, 20, 10], spread=1.0, images=12), sources={"discs": "0 0 1 1 2 2 3 3 4 4 5 5"})
    found = verdict(claim(Region(above=9.9)), known)
    assert found.outcome == "undecided"
    assert found.decisive.needs.of == "sources"
    assert "× as many sources of images" in str(found.decisive.needs)
    assert deciding_suites([found]) == []
