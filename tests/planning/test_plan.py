import numpy as np
import pytest

from gahbench._util.errors import DataError
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.registry.registry import Registry


def keys(file, registry, extra=()):
    plan = make_plan(load_suite(file, registry, extra), registry)
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


def test_the_source_of_a_plugin_decides(dry_runs_here, write_suite, write_plugin):
    found = []
    for body in ("return noisy - self.noise(noisy)", "return noisy + self.noise(noisy)"):
        registry = Registry((write_plugin("mine", body, folder=f"folder{len(found)}"),))
        found.append(keys(write_suite(), registry, ("mine",)))
    changed = {name for name in found[0] if found[0][name] != found[1][name]}
    assert {name[2] for name in changed} == {"mine"}


def test_work_counts_multiply_adds(write_suite, builtin):
    file = write_suite(("unet: {width: 2, levels: 1}", "bf-cnn: {width: 4, layers: 2}"))
    fit = make_plan(load_suite(file, builtin), builtin).fits[0]
    # Two 3x3 convolutions, 1 to 4 to 1 channels, on 16x16 pixels; backward costs two forward; 12 steps of 4 images.
    assert fit.work == pytest.approx(3 * (2 * 4 * 9 * 256) * 48)


def test_all_images_are_as_many_as_a_dataset_holds(write_suite, builtin):
    unet = ("  - unet: {width: 2, levels: 1}\n", "")
    file = write_suite(("- discs: {size: 16}", "- whole"), ("images: 3", "images: all"), unet)
    plan = make_plan(load_suite(file, builtin), builtin)
    assert {unit.payload["images"] for unit in plan.units} == {1}
    with pytest.raises(DataError, match="images=all asked of the test split, which never ends; accepted: a number"):
        make_plan(load_suite(write_suite(("images: 3", "images: all")), builtin), builtin)


def test_plugins_that_crash_do_not_take_the_plan_along(write_suite, write_plugin):
    crashes = {"exits": "os._exit(3)", "refuses": "raise ValueError('always')"}
    registry = Registry(tuple(write_plugin(name, body) for name, body in crashes.items()))
    plan = make_plan(load_suite(write_suite(), registry, tuple(crashes)), registry)
    assert set(crashes) < {unit.entrant for unit in plan.fits}


def test_where_the_files_of_a_wrapped_dataset_lie_does_not_change_keys(write_suite, builtin, tmp_path):
    found = []
    for folder in ("here", "there"):
        file = tmp_path / folder / f"{folder}.npz"
        file.parent.mkdir()
        np.savez(file, images=np.random.default_rng(0).random((30, 16, 16), dtype=np.float32))
        wrapped = f"shuffled: {{dataset: 'faces[path={file}]'}}"
        found.append(keys(write_suite(("discs: {size: 16}", wrapped)), builtin))
    assert list(found[0].values()) == list(found[1].values())
    assert {name[1] for name in found[0]} == {"shuffled[faces[here.npz]]"}
