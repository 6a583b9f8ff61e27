"""What a metric may see of an evaluation is what it needs, whichever metric came before it."""

import pytest
import torch

import gahbench
from gahbench.evaluation.measurement import Measurement, Subject

REQUEST = {"split": "test", "images": 3, "sigmas": [0.1], "noise_seed": 0, "sampling": {"count": 5}}


def measurement():
    dataset = gahbench.create("dataset", "discs", size=8)
    found = Measurement(
        dataset, Subject(lambda: gahbench.create("reference", "identity")), REQUEST, torch.device("cpu")
    )
    found.partner = lambda: Subject(lambda: gahbench.create("reference", "gaussian-blur"), {"split": "B", "count": 4})
    return found


def metric(see, *needs):
    class Sees(gahbench.Metric):
        def score(self, evaluation):
            return gahbench.Scores([float(see(evaluation))])

    found = Sees()
    found.needs = frozenset(needs)
    return found


def seen(measured, see, *needs):
    return measured.score(metric(see, *needs)).value[0]


def test_partners_are_seen_by_metrics_that_need_them_alone():
    measured = measurement()

    def has_partner(evaluation):
        return evaluation.partner is not None

    assert seen(measured, has_partner) == 0
    assert seen(measured, has_partner, "partner") == 1
    assert seen(measured, has_partner) == 0


@pytest.mark.parametrize(
    ("see", "need"),
    [
        (lambda evaluation: evaluation.learned_from is not None, "training"),
        (lambda evaluation: evaluation.sampling.count == 5, "samples"),
    ],
)
def test_other_facts_are_seen_by_metrics_that_need_them_alone(see, need):
    measured = measurement()
    assert [seen(measured, see), seen(measured, see, need), seen(measured, see)] == [0, 1, 0]


def test_jacobians_and_samples_are_refused_to_metrics_that_do_not_need_them():
    measured = measurement()
    for see in (
        lambda evaluation: evaluation.local.trace(0.1).value[0],
        lambda evaluation: evaluation.along(evaluation.denoiser).local.trace(0.1).value[0],
        lambda evaluation: evaluation.only(0).local.trace(0.1).value[0],
    ):
        assert seen(measured, see, "jacobian") == pytest.approx(64)
        with pytest.raises(ValueError, match=r'needs = frozenset\(\{"jacobian"\}\)'):
            seen(measured, see)
    with pytest.raises(ValueError, match=r'needs = frozenset\(\{"samples"\}\)'):
        seen(measured, lambda evaluation: len(evaluation.samples))


def test_results_are_shared_by_the_metrics_of_an_entrant():
    measured = measurement()
    found = []

    def keep(evaluation):
        found.append((evaluation.denoised(0.1), evaluation.local))
        return 0

    for _ in range(2):
        seen(measured, keep, "jacobian")
    (one, first), (other, second) = found
    assert one is other
    assert first is second
