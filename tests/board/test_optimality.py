import numpy as np
import pytest
from fake_results import dataset, results, rows

from gahbench.board.optimality import kl_bound
from gahbench.report.text import markdown

SIGMAS = (0.05, 0.1, 0.2)
NAME = "d"
IMAGES = 40


def decibels(error):
    return -10 * np.log10(error)


def results_of(entrants, sigmas=SIGMAS, optimum="exact"):
    """Return results of entrants, given as label, kind and squared errors (S, N)."""
    scores = [row for label, kind, error in entrants for row in rows(NAME, label, kind, decibels(error), None, sigmas)]
    return results(scores, datasets=[dataset(NAME, optimum=optimum)])


def errors(factor=1.0, seed=0, spread=0.3):
    """Return squared errors with a difficulty of each image that depends only on the seed."""
    difficulty = np.exp(spread * np.random.default_rng(seed).normal(size=IMAGES))
    return factor * np.outer(np.square(SIGMAS), difficulty) / 4


def table_of(*arguments, **options):
    return results_of(*arguments, **options).leaderboard(full=True).set_index("entrant")


def test_deficit_is_the_ratio_of_mean_squared_errors_and_not_of_mean_psnr():
    best = errors()
    worse = best * np.where(np.arange(IMAGES) < IMAGES // 2, 1.0, 4.0)
    board = table_of([("optimal", "optimal", best), ("net", "trained", worse)])
    expected = 10 * np.log10(worse.mean(axis=1) / best.mean(axis=1))
    deficits = [board.loc["net", f"deficit@{sigma}"] for sigma in SIGMAS]
    np.testing.assert_allclose(deficits, expected)
    assert board.loc["net", "deficit"] == pytest.approx(expected.mean())
    difference = board.loc["optimal", "psnr"] - board.loc["net", "psnr"]
    assert abs(difference - expected.mean()) > 0.3
    assert board.loc["net", "deficit_low"] < board.loc["net", "deficit"] < board.loc["net", "deficit_high"]
    assert np.isnan(board.loc["optimal", "deficit"])
    assert np.isnan(board.loc["net", "deficit_min"])


def test_a_bracket_has_two_ends():
    fake = results_of(
        [
            ("lower-bound", "bound", errors()),
            ("net", "trained", errors(1.5)),
            ("classic", "classical", errors(3.0)),
            ("oracle", "oracle", errors(1.2)),
            # An entrant beyond the bound is not the best of the board.
            ("cheat", "trained", errors(0.01)),
        ],
        optimum="bracket",
    )
    board = fake.leaderboard(full=True).set_index("entrant")
    decibel = {factor: 10 * np.log10(factor) for factor in (1.5, 2.0, 3.0)}
    assert board.loc["net", ["deficit_min", "deficit"]].tolist() == pytest.approx([0, decibel[1.5]])
    assert board.loc["classic", ["deficit_min", "deficit"]].tolist() == pytest.approx([decibel[2.0], decibel[3.0]])
    # An oracle sees the clean image, so it may be better than the optimum.
    assert board.loc["oracle", "deficit_min"] < 0
    assert 0 < board.loc["classic", "kl_min"] < board.loc["classic", "kl"]
    assert board.loc["net", "kl_min"] == pytest.approx(0)
    text = markdown(fake)
    assert f"{decibel[2.0]:.2f} to {decibel[3.0]:.2f}" in text
    assert "lower-bound is a lower bound on the expected error of every denoiser" in text


def test_without_a_row_for_the_optimum_or_a_second_level_values_are_unknown():
    fake = results_of([("net", "trained", errors(2.0))])
    assert fake.leaderboard(full=True)["deficit"].isna().all()
    assert fake.optimum_checks.get(NAME) is None
    text = markdown(fake)
    assert " deficit " not in text
    assert "Checked" not in text
    # The KL divergence needs two noise levels.
    board = table_of([("optimal", "optimal", errors()[:1]), ("net", "trained", errors(2.0)[:1])], sigmas=(0.05,))
    assert (np.isnan(board.loc["net", "kl"]), board.loc["net", "deficit"]) == (True, pytest.approx(10 * np.log10(2)))


def test_a_denoiser_beyond_the_optimum_is_reported_but_not_a_denoiser_within_chance():
    noise = np.random.default_rng(1).normal(size=(len(SIGMAS), IMAGES))
    best = errors()
    entrants = [
        ("optimal", "optimal", best),
        ("chance", "trained", best * (1 + 0.02 * noise - 0.002)),
        ("cheat", "classical", best * (1 + 0.02 * noise - 0.05)),
        ("oracle", "oracle", best * 0.1),
        ("honest", "trained", best * 1.1),
    ]
    fake = results_of(entrants)
    check = fake.optimum_checks.get(NAME)
    assert {deviation.entrant for deviation in check.violations} == {"cheat"}
    assert (check.entrants, check.comparisons, check.missed, check.kind) == (3, 9, 0, "exact")
    assert all(deviation.standard_errors > 3 for deviation in check.violations)
    board = fake.leaderboard(full=True).set_index("entrant")
    assert "beats the optimum, which is impossible, at σ = 0.05" in board.loc["cheat", "note"]
    assert board.drop("cheat")["note"].tolist() == [""] * 4
    assert "Better than the optimum, which is impossible: cheat." in markdown(fake)
    sound = results_of([entrant for entrant in entrants if entrant[0] != "cheat"])
    assert "none of 2 entrants in 6 comparisons is better" in markdown(sound)


@pytest.mark.parametrize("images", [2, 8, 40])
def test_false_alarms_are_as_rare_as_errors_beyond_three_standard_errors(images):
    """A denoiser as good as the optimum is flagged about once in 700 times at each noise level."""
    generator = np.random.default_rng(images)
    # One board holds all trials as noise levels, since the check treats each level separately.
    best = np.exp(0.3 * generator.normal(size=(300, images)))
    other = best * np.exp(0.05 * generator.normal(size=best.shape))
    entrants = [("optimal", "optimal", best), ("net", "trained", other)]
    check = results_of(entrants, sigmas=tuple(np.linspace(0.05, 0.2, len(best)))).optimum_checks[NAME]
    assert (check.comparisons, check.missed) == (len(best), 0)
    # The expected share is 0.135 %: more than 4 of 300 occur once in 6000 times.
    assert len(check.violations) <= 4


def test_kl_bound_of_gaussians():
    """Compare the bound for a Gaussian as a model of another Gaussian with their divergence (Guo, Shamai & Verdu).

    Between two noise levels the integral is the difference of the divergences of the noisy densities at these levels.
    """
    truth, model = 0.04, 0.01

    def excess(sigmas):
        # The optimal denoiser of the model, x = model / (model + sigma^2) y, applied to data of variance ``truth``.
        noise = sigmas**2
        weight = model / (model + noise)
        return (1 - weight) ** 2 * truth + weight**2 * noise - truth * noise / (truth + noise)

    def divergence(sigma):
        ratio = (truth + sigma**2) / (model + sigma**2)
        return 0.5 * (ratio - 1 - np.log(ratio))

    # Suites have few levels: with seven levels the bound is accurate to 5 %.
    for first, last, count, rel in ((1e-3, 30, 4000, 1e-4), (0.05, 0.5, 900, 1e-4), (0.02, 1, 7, 0.05)):
        sigmas = np.geomspace(first, last, count)
        assert kl_bound(sigmas, excess(sigmas)) == pytest.approx(divergence(first) - divergence(last), rel=rel)


def test_the_check_has_power_is_with_the_optimum_of_gahbench_and_counts_missing_comparisons():
    def check(*entrants):
        found = results_of(entrants).optimum_checks[NAME]
        return {deviation.entrant for deviation in found.violations}, found.optimum, found.comparisons, found.missed

    best, missing = errors(), errors()
    missing[1, 0] = np.nan
    # On a ray the optimal error is the square of one Gaussian number, whose standard deviation exceeds its mean.
    ray, cheat = (np.outer(np.square(SIGMAS), np.random.default_rng(seed).chisquare(1, size=8)) / 64 for seed in (3, 4))
    assert check(("optimal", "optimal", ray), ("cheat", "trained", cheat / 1e4)) == ({"cheat"}, "optimal", 3, 0)
    assert check(("mine", "optimal", best / 2), ("optimal", "optimal", best)) == ({"mine"}, "optimal", 3, 0)
    assert check(("optimal", "optimal", missing), ("net", "trained", 2 * best)) == (set(), "optimal", 2, 1)
    single = ("optimal", "optimal", best[:, :1]), ("net", "trained", 0.1 * best[:, :1])
    assert check(*single)[-1] == 3
    text = markdown(results_of(single))
    assert "Not checked, because scores or images are missing: 3 comparisons" in text
    assert "Checked" not in text.replace("Not checked", "")


def test_a_seed_that_failed_does_not_hide_the_others():
    best = errors()
    scores = rows(NAME, "optimal", "optimal", decibels(best), None, SIGMAS)
    for seed in (0, 1):
        scores += rows(NAME, "both", "trained", decibels(1.1 * best), seed, SIGMAS)
    scores += rows(NAME, "one", "trained", decibels(0.5 * best), 0, SIGMAS)
    check = results(scores, datasets=[dataset(NAME, optimum="exact")]).optimum_checks.get(NAME)
    assert {deviation.entrant for deviation in check.violations} == {"one"}
    assert check.missed == 0


def test_a_closed_form_error_below_the_optimum_is_infinitely_many_standard_errors_away():
    # Closed-form errors may be equal for all images.
    best = np.full((len(SIGMAS), IMAGES), 0.25)
    fake = results_of([("optimal", "optimal", best), ("cheat", "trained", 0.25 * best)])
    assert all(np.isinf(deviation.standard_errors) for deviation in fake.optimum_checks.get(NAME).violations)


def make_results(distance, cross, optimal, psnr_errors, kind="exact", seeds=(None,)):
    """Return results of a network with a measured distance from the optimum, shape (S, N)."""
    label, own_kind = ("optimal", "optimal") if kind == "exact" else ("lower-bound", "bound")
    scores = rows(NAME, label, own_kind, decibels(psnr_errors), None, SIGMAS)
    for seed in seeds:
        for metric, values in (
            ("psnr", decibels(psnr_errors + distance)),
            ("optimum-distance", distance),
            ("optimum-distance.optimal-error", optimal),
            ("optimum-cross", cross),
        ):
            scores += rows(NAME, "net", "trained", values, seed, SIGMAS, metric)
    return results(scores, datasets=[dataset(NAME, optimum=kind)])


def no_cross(scale=1.0, seed=7):
    noise = np.random.default_rng(seed).normal(size=(len(SIGMAS), IMAGES))
    return scale * (noise - noise.mean(axis=1, keepdims=True)) * np.square(SIGMAS)[:, None]


@pytest.mark.parametrize("kind", ["exact", "bracket"])
def test_deficits_use_measured_distances(kind):
    optimal, distance = errors(), 0.3 * errors(seed=3)
    # The deficit does not depend on the realised errors of the optimum.
    fake = make_results(distance, no_cross(), optimal, errors(seed=9), kind)
    board = fake.leaderboard(full=True).set_index("entrant")
    expected = 10 * np.log10(1 + distance.mean(axis=1) / optimal.mean(axis=1))
    assert [board.loc["net", f"deficit@{sigma}"] for sigma in SIGMAS] == pytest.approx(expected.tolist())
    assert board.loc["net", "kl"] == pytest.approx(float(kl_bound(SIGMAS, distance.mean(axis=1))))
    assert not [name for name in board.columns if name.startswith("optimum-")]
    if kind == "bracket":
        assert board.loc["net", "deficit_min"] == pytest.approx(0)


def test_deficits_from_distances_and_their_intervals_are_never_negative():
    # There are far fewer images than a small distance needs, and seeds differ.
    distance = 1e-3 * errors(spread=2.0)
    fake = make_results(distance, no_cross(), errors(), errors(seed=9), seeds=(0,))
    more = make_results(3 * distance, no_cross(), errors(), errors(seed=9), seeds=(1,))
    merged = results([*fake.scores.to_dict("records"), *[row for row in more.scores.to_dict("records")
                      if row["entrant"] == "net"]], datasets=[dataset(NAME, optimum="exact")])  # fmt: skip
    row = merged.leaderboard(full=True).set_index("entrant").loc["net"]
    for sigma in SIGMAS:
        assert 0 <= row[f"deficit@{sigma}_low"] <= row[f"deficit@{sigma}"] <= row[f"deficit@{sigma}_high"]


def test_a_cross_term_names_the_entrant_or_the_optimum_as_wrong():
    for shift, violations, refutations in ((0.0, 0, 0), (1.0, 3, 0), (-1.0, 0, 3)):
        cross = no_cross() + shift * np.square(SIGMAS)[:, None]
        fake = make_results(0.3 * errors(seed=3), cross, errors(), errors(seed=9))
        check = fake.optimum_checks.get(NAME)
        assert (len(check.violations), len(check.refutations)) == (violations, refutations)
        text = markdown(fake)
        assert ("the optimum itself is not the best denoiser" in text) is bool(refutations)
        assert ("which is impossible: net" in text) is bool(violations)
