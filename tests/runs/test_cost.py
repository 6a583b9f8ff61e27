"""The measured cost of denoising."""

import time

import pytest
import torch

import gahbench
from gahbench.evaluation import Evaluation
from gahbench.networks.trained import Trained
from gahbench.runs.cost import measure_cost


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


def test_multiply_adds_of_convolutions_are_those_of_the_closed_form():
    network = gahbench.create("architecture", "bf-cnn", channels=1, width=16, layers=8)
    cost = measure_cost(evaluation(Trained(network)))
    # Each pixel costs 9 multiply-adds for each pair of an input and an output channel.
    assert cost["multiply_adds"] == 9 * (16 + 6 * 16**2 + 16)
    assert cost["seconds"] > 0


def test_the_cost_leaves_the_random_state_and_the_network_unchanged():
    network = gahbench.create("architecture", "bf-cnn", channels=1, width=4, layers=3)
    denoiser, state = Trained(network), torch.random.get_rng_state()
    measure_cost(evaluation(denoiser))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(parameter.device.type == "cpu" for parameter in denoiser.network.parameters())


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
    trained = costs.loc[[label for label in practical if kinds[label] == "trained"]]
    assert trained["training_images"].notna().all()
    assert (trained["multiply_adds"] > 0).all()
