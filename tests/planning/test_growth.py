"""What a suite that grows does anew: the suite ``quick``, planned."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite

QUICK = Path(__file__).parents[2] / "suites" / "quick.yaml"
ARCHITECTURES, DATASETS = 2, 3


@pytest.fixture
def planned(builtin, tmp_path):
    """Plan quick with some fields set; faces are files, so that nothing is downloaded."""
    np.savez(tmp_path / "faces.npz", images=np.random.default_rng(0).integers(0, 256, (400, 24, 24), dtype=np.uint8))

    def plan(**fields):
        content = yaml.safe_load(QUICK.read_text(encoding="utf-8"))
        content["datasets"][-1]["faces"]["path"] = str(tmp_path / "faces.npz")
        for place, value in fields.items():
            *above, name = place.split("__")
            where = content[above[0]] if above else content
            where[name] = value
        file = tmp_path / "quick.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        # Trying out networks counts their work, which is no part of keys.
        units = make_plan(load_suite(file, builtin), builtin, lambda key: True).units
        return {unit.key: unit for unit in units}

    return plan


def new(before, after):
    return [unit for key, unit in after.items() if key not in before]


def test_a_seed_trains_one_fit_for_each_architecture_and_dataset_and_nothing_else(planned):
    before, after = planned(), planned(seeds=[0, 1, 2])
    assert before.keys() < after.keys()
    added = new(before, after)
    fits = [unit for unit in added if unit.kind == "fit"]
    assert len({(unit.dataset, unit.entrant) for unit in fits}) == len(fits) == ARCHITECTURES * DATASETS
    assert {unit.seed for unit in added} == {2}
    assert {unit.requires for unit in added if unit.kind == "score"} == {unit.key for unit in fits}


@pytest.mark.parametrize(
    "change",
    [
        {"scoring__images": 32},
        {"scoring__noise_seed": 1},
        {"scoring__sigmas": [0.03, 0.06, 0.12, 0.25, 0.5, 0.7]},
        {"scoring__splits": ["test", "validation"]},
    ],
)
def test_images_noise_levels_and_splits_train_nothing_and_only_score(planned, change):
    before, after = planned(), planned(**change)
    added = new(before, after)
    assert {unit.kind for unit in added} == {"score"}
    # Each entrant anew by each metric, on each dataset: of splits, the one that was not there.
    scores = [unit for unit in before.values() if unit.kind == "score"]
    assert len(added) == len(scores)
    assert {unit.key for unit in before.values() if unit.kind == "fit"} <= after.keys()
