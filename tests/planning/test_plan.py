import numpy as np
import pytest

from gahbench._util.errors import DataError, SuiteError
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.registry.registry import Registry


def keys(file, registry, extra=()):
    plan = make_plan(load_suite(file, registry, extra), registry)
    return {
        (unit.kind, unit.dataset, unit.entrant, unit.seed, unit.split, unit.metric): unit.key for unit in plan.units
    }


def new_units(write_suite, builtin, change):
    """Return the units that a changed suite has and the suite does not, and whether it keeps all that were there."""
    before, after = (
        {unit.key: unit for unit in make_plan(load_suite(write_suite(*changes), builtin), builtin).units}
        for changes in ((), (change,))
    )
    return [unit for key, unit in after.items() if key not in before], before.keys() <= after.keys()


def test_a_seed_adds_a_fit_and_its_scores_and_a_metric_scores(write_suite, builtin):
    added, all_kept = new_units(write_suite, builtin, ("baseline:", "seeds: [0, 1]\nbaseline:"))
    assert [(unit.kind, unit.metric, unit.seed) for unit in added] == [
        ("fit", None, 1), ("score", "psnr", 1), ("score", "slope", 1)
    ]  # fmt: skip
    assert {unit.requires for unit in added} == {None, added[0].key}
    assert all_kept
    added, all_kept = new_units(write_suite, builtin, ("metrics: [psnr, slope]", "metrics: [psnr, slope, ssim]"))
    assert [(unit.kind, unit.metric) for unit in added] == [("score", "ssim")] * 3
    assert all_kept


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("images: 3", "images: 4"),
        ("images: 3", "images: 3, noise_seed: 1"),
        ("sigmas: [0.1, 0.3]", "sigmas: [0.1, 0.2, 0.3]"),
        ("images: 3", "images: 3, splits: [test, validation]"),
    ],
)
def test_images_noise_levels_and_splits_train_nothing_and_only_score(write_suite, builtin, old, new):
    added, all_kept = new_units(write_suite, builtin, (old, new))
    # Each entrant anew by each metric: of splits, the one that was not there.
    assert [unit.kind for unit in added] == ["score"] * 6
    assert all_kept == ("splits" in new)


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


@pytest.mark.parametrize(
    "change",
    [
        ("size: 16", "size: 32"),
        ("size: 16", "size: 16, seed: 1"),
        ("steps: 12", "steps: 13"),
        ("batch_size: 4", "batch_size: 5"),
        ("compile: never", "compile: never, recipe: paper"),
    ],
)
def test_what_decides_a_fit_changes_its_key(write_suite, builtin, change):
    def fit(file):
        return [unit.key for unit in make_plan(load_suite(file, builtin), builtin).fits]

    assert fit(write_suite(change)) != fit(write_suite())


def test_the_source_of_a_plugin_decides(write_suite, write_plugin):
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


def test_sizes_that_levels_do_not_divide_are_refused(write_suite, builtin):
    file = write_suite(("size: 16", "size: 18"), ("levels: 1", "levels: 2"))
    with pytest.raises(SuiteError, match=r"multiples of 4, not 18x18"):
        make_plan(load_suite(file, builtin), builtin)


def test_sizes_that_a_basis_cannot_take_are_refused(write_suite, builtin):
    changes = (("size: 16", "size: 17"), ("  - unet: {width: 2, levels: 1}\n", ""))
    make_plan(load_suite(write_suite(*changes), builtin), builtin)
    deep = ("  - identity\n", '  - identity\n  - oracle-threshold: {basis: "wavelet[levels=5]"}\n')
    file = write_suite(*changes, deep)
    with pytest.raises(SuiteError, match="levels=5 needs image sides of at least 32, not 17x17"):
        make_plan(load_suite(file, builtin), builtin)


def test_all_images_are_as_many_as_a_dataset_holds(write_suite, builtin):
    unet = ("  - unet: {width: 2, levels: 1}\n", "")
    file = write_suite(("- discs: {size: 16}", "- whole"), ("images: 3", "images: all"), unet)
    plan = make_plan(load_suite(file, builtin), builtin)
    assert {unit.payload["images"] for unit in plan.units} == {1}
    with pytest.raises(DataError, match="images=all asked of the test split, which never ends; accepted: a number"):
        make_plan(load_suite(write_suite(("images: 3", "images: all")), builtin), builtin)


@pytest.mark.parametrize(
    "body",
    ["os._exit(3)", "raise ValueError('always')", "raise RuntimeError('no')", "import ctypes; ctypes.string_at(0)"],
)
def test_a_plugin_that_crashes_does_not_take_the_plan_along(write_suite, write_plugin, body):
    registry = Registry((write_plugin("crashes", body),))
    plan = make_plan(load_suite(write_suite(), registry, ("crashes",)), registry)
    assert "crashes" in {unit.entrant for unit in plan.fits}


def test_a_third_party_network_may_refuse_a_size(write_suite, write_plugin):
    body = (
        "if noisy.shape[-1] % 32: raise ValueError('sides must be multiples of 32')\nreturn noisy - self.noise(noisy)"
    )
    registry = Registry((write_plugin("picky", body),))
    with pytest.raises(SuiteError, match=r"'picky' on discs\[size=16\]: sides must be multiples of 32"):
        make_plan(load_suite(write_suite(), registry, ("picky",)), registry)


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
