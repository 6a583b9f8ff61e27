"""The pieces of the test of the optimal rate, and the test on real images: the genie passes, wavelets do not."""

import numpy as np
import pytest
import torch
from known_filters import create, evaluation, table

from gahbench import OptimumError
from gahbench.board.rate_verdicts import DeficitCurve, judge
from gahbench.board.statistics import bootstrap_means
from gahbench.contracts.references import Reference
from gahbench_plugins.datasets.c_alpha import CAlpha

SIGMAS = [0.02 * 2**octave for octave in range(5)]
FAMILY = "c-alpha[alpha=4,size=16]"


class WrongGenie(Reference):
    """The genie's filter with an error: it takes the noise for half as strong again, and sees what the genie sees."""

    kind = "optimal"

    def denoise(self, noisy, sigma, truth):
        return truth.dataset.genie(noisy, 1.5 * sigma, truth.split, truth.start)


def verdict_of(reference, size):
    """The verdict on C^4 images were all levels collapsed."""
    found = table("optimality-slope", evaluation(reference, f"c-alpha[alpha=4,size={size}]", SIGMAS, 6))
    error, bound = (
        torch.stack([found[part, sigma] for sigma in SIGMAS]).numpy()[None, :, None] for part in ("error", "bound")
    )
    draws = bootstrap_means(np.concatenate([error, bound]), relative=True)
    middle = 10 * np.log10(error.mean(-1) / bound.mean(-1))[0, :, 0]
    everywhere = np.full(len(SIGMAS), True)
    drawn = 10 * np.log10(draws[:, 0] / draws[:, 1])
    return judge(DeficitCurve(np.array(SIGMAS) / size, middle, drawn, everywhere, everywhere), 0.8)


def test_the_genie_passes_and_its_filter_with_an_error_too():
    genie, wrong = verdict_of("lower-bound", 16), verdict_of(WrongGenie(), 16)
    assert genie.answer == "near-optimal"
    assert genie.deviation.high == pytest.approx(0, abs=1e-9)
    assert wrong.answer == "near-optimal"
    assert abs(wrong.slope.value) > 1e-4


def test_wavelets_fail_even_with_an_oracle():
    verdict = verdict_of("oracle-shrink[haar]", 32)
    assert verdict.answer == "not near-optimal"
    assert verdict.slope.low > 0.1
    assert any("deviates" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("family", ["gaussian-field[size=12]", FAMILY])
def test_errors_are_the_best_one_and_the_distance_from_it(family):
    found = evaluation("bayes-shrink[haar]", family, SIGMAS[2:5], 6)
    own, distance = table("optimality-slope", found), table("optimum-distance", found)
    for sigma in SIGMAS[2:5]:
        torch.testing.assert_close(own["bound", sigma], distance["optimal-error", sigma])
        torch.testing.assert_close(own["error", sigma], distance["", sigma] + distance["optimal-error", sigma])
        assert (own["error", sigma] > own["bound", sigma]).all()


def test_where_the_genie_is_not_computed_errors_are_those_of_the_images(monkeypatch):
    found = evaluation("bayes-shrink[haar]", FAMILY, SIGMAS[2:5], 6)
    fails, genie = SIGMAS[3], CAlpha.genie

    def failing(self, noisy, sigma, split, start=0):
        if sigma == fails:
            raise OptimumError("did not converge")
        return genie(self, noisy, sigma, split, start)

    monkeypatch.setattr(CAlpha, "genie", failing)
    own = table("optimality-slope", found)
    squared = (found.denoised(fails).double() - found.clean.double()).square().flatten(1).mean(1)
    torch.testing.assert_close(own["error", fails], squared)
    assert len(own["", fails]) == 6


def test_slopes_are_those_of_the_decibels_between():
    found = table("optimality-slope", evaluation("oracle-threshold[haar]", FAMILY, SIGMAS[:3], 4))
    first, _, last = (10 * torch.log10(found["error", sigma] / found["bound", sigma]) for sigma in SIGMAS[:3])
    # Of three equally spaced levels, that in the middle has the slope from end to end; D grows as noise fades.
    torch.testing.assert_close(found["", SIGMAS[1]], (first - last) / (40 * np.log10(2)))
    oracle = create("reference", "oracle-threshold[haar]")
    again = evaluation(oracle, FAMILY, SIGMAS[:3], 4)
    torch.testing.assert_close(found["error", SIGMAS[0]], oracle.risk(again.truth, SIGMAS[0]).double())


def test_larger_images_may_have_errors_alone():
    metric = create("metric", "optimality-slope[max_size=15]")
    found = evaluation("bayes-shrink[haar]", FAMILY, SIGMAS[:3], 4)
    parts = table(metric, found)
    assert {part for part, _ in parts} == {"error"}
    realised = (found.denoised(SIGMAS[0]).double() - found.clean).square().flatten(1).mean(1)
    torch.testing.assert_close(parts["error", SIGMAS[0]], realised)


def test_it_needs_an_optimum():
    assert table("optimality-slope", evaluation("identity", "faces[size=12]", SIGMAS)) == {}
