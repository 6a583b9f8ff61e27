"""Poisson-Gaussian noise in suites: levels, accepted metrics and entrants, keys, boards and errors."""

import pytest
from sample_files import REFERENCES
from tiny_runs import plan_suite

from gahbench import load_results, run
from gahbench._util.errors import GahbenchError
from gahbench.noise import PoissonGaussian
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite

WHITE = "scoring: {sigmas: [0.1, 0.3], images: 3, metrics: [psnr, slope]}"
PHOTONS = "{kind: poisson-gaussian, a: 0.02, b: 0.0004}"


def photons(noise=PHOTONS, metrics="[psnr, ssim, optimum-distance]", more=""):
    return REFERENCES.replace(WHITE, f"scoring: {{noise: {noise}, images: 3, metrics: {metrics}{more}}}")


def test_a_level_is_the_standard_deviation_at_intensity_one_half(write_suite, builtin):
    text = photons("{kind: poisson-gaussian, a: [0.02, 1/50, 0.08], b: [0.0004, 0, 0.0004]}")
    scoring = load_suite(write_suite(text=text), builtin).scoring
    assert scoring.sigmas == (0.102, 0.1, 0.201)
    assert scoring.noise.levels[0.1] == PoissonGaussian(0.02, 0)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ("{kind: poisson-gaussian, a: -0.1, b: 0}", "noise.a"),
        ("{kind: poisson-gaussian, a: 0.1, b: -1}", "noise.b"),
        ("{kind: poisson-gaussian, a: 0, b: 0}", "no noise; accepted: a or b above 0"),
        ("{kind: poisson-gaussian, a: 0.1}", "noise.b"),
        ("{kind: poisson, a: 0.1, b: 0}", "poisson-gaussian"),
        ("{kind: poisson-gaussian, a: 0.1, b: 0, c: 1}", "unknown field 'scoring.noise.c'"),
        ("{kind: poisson-gaussian, a: [0.1, 0.2], b: [0, 0.1, 0.2]}", "a has 2 values and b has 3"),
        ("{kind: poisson-gaussian, a: [0.1, 0.1], b: 0}", "two noise levels are equal"),
        ("{kind: poisson-gaussian, a: 2, b: 0}", "more photons, which is a smaller a"),
    ],
)
def test_errors_are_one_line_that_names_the_field(write_suite, builtin, noise, message):
    with pytest.raises(GahbenchError) as raised:
        load_suite(write_suite(text=photons(noise)), builtin)
    assert message in str(raised.value)
    assert "tiny.yaml:" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_noise_excludes_sigmas_and_metrics_of_white_noise(write_suite, builtin):
    with pytest.raises(GahbenchError, match="sigmas and noise exclude each other"):
        load_suite(write_suite(text=photons(more=", sigmas: [0.1]")), builtin)
    for metric in ("slope", "alignment"):
        text = photons(metrics=f"[psnr, {metric}]")
        with pytest.raises(GahbenchError, match=f"metric '{metric}.*defined under white Gaussian noise only"):
            make_plan(load_suite(write_suite(text=text), builtin), builtin)


def test_optima_and_bounds_are_left_out_where_they_are_unknown(write_suite, builtin):
    text = photons().replace("- identity", "- identity\n  - optimal\n  - stabilised-optimal")
    text = text.replace("- discs: {size: 16}", "- discs: {size: 16}\n  - gaussian-field: {size: 16}")
    plan = make_plan(load_suite(write_suite(text=text), builtin), builtin)
    rows = {(unit.dataset, unit.entrant) for unit in plan.units}
    assert ("discs[size=16]", "optimal") in rows
    assert {entrant for dataset, entrant in rows if dataset.startswith("gaussian")} >= {"stabilised-optimal"}
    assert not [row for row in rows if row[0].startswith("gaussian") and row[1] == "optimal"]
    facts = {row["dataset"]: row for row in plan.board["datasets"]}
    assert [row["optimum"] for row in facts.values()] == ["exact", "none"]
    assert "The optimum is the posterior mean of intensities" in facts["discs[size=16]"]["notes"]
    assert "The optimum under this noise is not known" in plan.board["datasets"][1]["notes"]
    text = photons().replace("- identity", "- identity\n  - lower-bound").replace("discs", "c-alpha")
    suite = load_suite(write_suite(text=text), builtin)
    with pytest.raises(GahbenchError, match="not defined on any dataset"):
        make_plan(suite, builtin)


def test_keys_and_protocols_depend_on_the_noise(write_suite):
    def facts(text):
        plan = plan_suite(write_suite(text=text))
        return {unit.key for unit in plan.units if unit.metric == "psnr"}, plan.board["datasets"][0]["protocol"]

    keys, protocols = zip(*(facts(photons(PHOTONS.replace("0.0004", b))) for b in ("0.0004", "0.0005")), strict=True)
    assert not keys[0] & keys[1]
    assert protocols[0] != protocols[1]


@pytest.mark.usefixtures("figures_not_rendered")
def test_a_board_says_how_it_was_scored(write_suite, tmp_path):
    text = photons("{kind: poisson-gaussian, a: [0.02, 0.05], b: 0.0004}").replace(
        "discs: {size: 16}", "c-alpha: {size: 16}"
    )
    run(write_suite(text=text), tmp_path / "out", engine="inline")
    results = load_results(tmp_path / "out")
    assert results.datasets["noise"].tolist() == ["poisson-gaussian"]
    board = results.leaderboard().set_index("entrant")
    assert board.loc["oracle-threshold[haar]", "psnr"] > board.loc["identity", "psnr"] > 15
    page = (tmp_path / "out" / "leaderboard.md").read_text(encoding="utf-8")
    assert "Poisson-Gaussian noise of variance a·x + b" in page
    assert "worse than the noisy" not in page
    assert "Oracles are oracles of the stabilised images" in page
