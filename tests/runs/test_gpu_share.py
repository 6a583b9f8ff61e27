"""How many workers share a GPU."""

import pytest

from gahbench.contracts.unit import Unit
from gahbench.runs.gpu_share import FILLING_WORK, WORKER_BYTES, workers_per_gpu


def fit(step_work, steps=100):
    payload = {"training": {"steps": steps}}
    return Unit(
        "fit",
        "k",
        "d",
        "e",
        "architecture",
        0,
        None,
        None,
        None,
        None,
        step_work * (steps if isinstance(steps, int) else 1),
        payload,
    )


@pytest.mark.parametrize(
    ("units", "gigabytes", "processors", "count"),
    [
        ([fit(FILLING_WORK / 3)], 80, 16, 3),
        ([fit(FILLING_WORK / 100)], 80, 16, 4),
        ([fit(FILLING_WORK / 100)], 16, 16, 2),
        ([fit(FILLING_WORK / 100)], 80, 2, 2),
        ([fit(FILLING_WORK / 100)], 4, 16, 1),
        # The largest network decides.
        ([fit(FILLING_WORK / 100), fit(FILLING_WORK)], 80, 16, 1),
        # Nothing is known of their steps: a budget of seconds, or no networks.
        ([fit(float("inf"))], 80, 16, 1),
        ([fit(1.0, None)], 80, 16, 1),
        ([fit(1.0, {"per_image": 2.0, "least": 1})], 80, 16, 1),
        ([], 80, 16, 1),
    ],
)
def test_small_networks_share_a_gpu_as_memory_and_processors_allow(units, gigabytes, processors, count):
    assert workers_per_gpu(units, gigabytes * WORKER_BYTES // 8, processors) == count
