"""The measured cost of denoising."""

import time

import pytest

import gahbench
from gahbench.evaluation import Evaluation
from gahbench.runs.row import measure_cost
from gahbench.training.hardware import multiply_adds


def evaluation(denoiser, size=12, count=3):
    images = gahbench.create("dataset", "discs", size=size).images("test", count)
    return Evaluation(denoiser, images, [0.1, 0.2])


class Slow(gahbench.Reference):
    """A denoiser that takes 20 ms for each batch."""

    kind = "classical"

    def denoise(self, noisy, sigma, truth):
        time.sleep(0.02)
        return noisy


def test_seconds_are_per_megapixel_of_a_batch():
    cost = measure_cost(evaluation(Slow()))
    assert cost == {"seconds": pytest.approx(0.02 / (3 * 12 * 12) * 1e6, rel=0.5)}


def test_oracles_and_failing_denoisers_have_no_cost():
    class Failing(Slow):
        def denoise(self, noisy, sigma, truth):
            raise RuntimeError("no luck")

    assert measure_cost(evaluation(gahbench.create("reference", "oracle-threshold", basis="haar"))) == {}
    assert measure_cost(evaluation(Failing())) == {}


def test_a_run_measures_the_cost_of_its_denoisers(kept_run):
    costs = gahbench.load_results(kept_run).costs.set_index("entrant")
    kinds = gahbench.load_results(kept_run).scores.groupby("entrant")["kind"].first()
    practical = {label for label, kind in kinds.items() if kind in ("trained", "classical")}
    assert set(costs.index) == practical
    assert (costs["seconds"] > 0).all()
    assert costs["machine"].nunique() == 1
    (label,) = (label for label in practical if kinds[label] == "trained")
    network = gahbench.create("architecture", label, channels=1).to("meta")
    assert costs.loc[label, "multiply_adds"] == multiply_adds(network, (1, 16, 16)) / 16**2
    assert costs["multiply_adds"].notna().sum() == costs["training_images"].notna().sum() == 1
