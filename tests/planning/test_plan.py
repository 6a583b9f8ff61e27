"""Keys and work of planned units."""

import numpy as np
import pytest

import gahbench
from gahbench._util.errors import DataError
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_changes import SuiteChanges
from gahbench.registry.registry import Registry


def keys(file, registry, extra=()):
    plan = make_plan(load_suite(file, registry, extra))
    return {
        (unit.kind, unit.dataset, unit.entrant, unit.seed, unit.split, unit.metric): unit.key for unit in plan.units
    }


def test_keys_do_not_depend_on_order_or_display(write_suite, builtin):
    first = keys(write_suite(), builtin)
    changes = [
        ("width: 2, levels: 1", "levels: 1, width: 2"),
        ("name: tiny", "name: other\ndescription: words"),
        ("  - identity\n", ""),
        ("entrants:\n", "entrants:\n  - identity\n"),
        ("validations: 2", "validations: 3"),
    ]
    assert keys(write_suite(*changes), builtin) == first


def test_the_code_of_a_plugin_changes_only_its_keys(write_suite, write_plugin):
    keys_by_unit = []
    for body in ("return noisy - self.noise(noisy)", "return noisy + self.noise(noisy)"):
        registry = Registry((write_plugin("mine", body, folder=f"folder{len(keys_by_unit)}"),))
        keys_by_unit.append(keys(write_suite(), registry, ("mine",)))
    changed = {name for name in keys_by_unit[0] if keys_by_unit[0][name] != keys_by_unit[1][name]}
    assert {name[2] for name in changed} == {"mine"}


def test_work_counts_multiply_adds(write_suite, builtin):
    file = write_suite(("unet: {width: 2, levels: 1}", "bf-cnn: {width: 4, layers: 2}"))
    fit = make_plan(load_suite(file, builtin)).fits[0]
    # 12 steps of 4 images; two 3x3 convolutions of 4 pairs of channels on 16x16 pixels; forward and backward.
    assert fit.work == pytest.approx(3 * (2 * 4 * 9 * 256) * 48)


def test_all_images_of_a_dataset_can_be_scored(write_suite, builtin):
    unet = ("  - unet: {width: 2, levels: 1}\n", "")
    file = write_suite(("- discs: {size: 16}", "- whole"), ("images: 3", "images: all"), unet)
    plan = make_plan(load_suite(file, builtin))
    assert {unit.payload["images"] for unit in plan.units} == {1}
    with pytest.raises(
        DataError, match="images=all requested from the test split, which is endless; accepted: a number"
    ):
        make_plan(load_suite(write_suite(("images: 3", "images: all")), builtin))


def test_networks_that_always_fail_do_not_stop_the_plan(write_suite, write_plugin):
    registry = Registry((write_plugin("refuses", "raise ValueError('always')"),))
    plan = make_plan(load_suite(write_suite(), registry, ("refuses",)))
    assert "refuses" in {unit.entrant for unit in plan.fits}


def test_the_path_of_a_nested_dataset_does_not_change_keys(write_suite, builtin, tmp_path):
    keys_by_unit = []
    for folder in ("here", "there"):
        file = tmp_path / folder / f"{folder}.npz"
        file.parent.mkdir()
        np.savez(file, images=np.random.default_rng(0).random((30, 16, 16), dtype=np.float32))
        wrapped = f"shuffled: {{dataset: 'faces[path={file}]'}}"
        keys_by_unit.append(keys(write_suite(("discs: {size: 16}", wrapped)), builtin))
    assert list(keys_by_unit[0].values()) == list(keys_by_unit[1].values())
    assert {name[1] for name in keys_by_unit[0]} == {"shuffled[faces[here.npz]]"}


def test_python_gets_the_plan_as_a_table(write_suite, builtin):
    file = write_suite()
    units = gahbench.plan(file, seeds=[3], only=["unet*"]).units
    assert list(units) == ["kind", "dataset", "entrant", "seed", "metric", "key"]
    expected = make_plan(load_suite(file, builtin, SuiteChanges.from_arguments(seeds=[3], only=["unet*"])))
    assert units["key"].tolist() == [unit.key for unit in expected.units]
    assert units[units["kind"] == "fit"]["seed"].tolist() == [3]
