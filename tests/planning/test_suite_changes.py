"""Settings, seeds and filters that change a suite for a run."""

import pytest
from tiny_runs import UNET

import gahbench
from gahbench._util.errors import SuiteError
from gahbench.planning.suite import SuiteChanges, load_suite


def load(file, registry, **changes):
    return load_suite(file, registry, SuiteChanges(**changes))


def labels(suite):
    return [entrant.label for entrant in suite.entrants]


def test_settings_override_fields_of_the_file(write_suite, builtin):
    settings = ["training.steps=7", "scoring.sigmas=[25/255, 0.3]", "entrants.unet.width=3", "entrants.0.unet.levels=2"]
    suite = load(write_suite(), builtin, settings=[*settings, "datasets.0.size=32"], seeds=range(4, 6))
    assert (suite.training.steps, suite.scoring.sigmas, suite.seeds) == (7, (25 / 255, 0.3), (4, 5))
    assert (labels(suite)[0], suite.datasets[0].label) == ("unet[width=3,levels=2]", "discs[size=32]")
    assert suite.changes == tuple(f"--set {text}" for text in (*settings, "datasets.0.size=32", "seeds=[4, 5]"))


def test_settings_add_missing_fields(write_suite, builtin):
    settings = {"limits.unit": 60, "entrants.identity": "bayes-shrink", "entrants.unet.label": "\U0001f680"}
    suite = load(write_suite(), builtin, settings=settings)
    assert suite.limits.unit == 60
    assert labels(suite) == ["\U0001f680", "bayes-shrink[sym4]", "oracle-threshold[haar]"]
    suite = load(write_suite(("  - identity\n", "  - bf-cnn\n")), builtin, settings="entrants.bf-cnn.layers=3")
    assert suite.entrants[1].parameters["layers"] == 3


def test_errors_elsewhere_still_name_the_line(write_suite, builtin):
    with pytest.raises(SuiteError, match=r"tiny\.yaml:6: .*unknown parameter 'wide'"):
        load(write_suite(("width: 2", "wide: 2")), builtin, settings=["training.steps=1"])


def test_entries_of_one_name_are_set_by_index(write_suite, builtin):
    file = write_suite(("  - identity", "  - unet: {width: 3, levels: 1}"))
    with pytest.raises(gahbench.GahbenchError, match="'unet' is not the name of a single entry"):
        load(file, builtin, settings=["entrants.unet.width=5"])
    assert load(file, builtin, settings=["entrants.1.width=5"]).entrants[1].parameters["width"] == 5


def test_a_setting_changes_only_one_use_of_an_alias(write_suite, builtin):
    file = write_suite(
        ("  - unet: {width: 2, levels: 1}\n  - identity", "  - unet: &small {width: 2}\n  - bf-cnn: *small"),
    )
    suite = load(file, builtin, settings=["entrants.unet.width=7"])
    assert [entrant.parameters["width"] for entrant in suite.entrants[:2]] == [7, 2]


def test_filters_keep_the_baseline_psnr_and_added_entrants(write_suite, builtin):
    file, baseline = write_suite(), "oracle-threshold[haar]"
    suite = load(file, builtin, only="unet*", metrics=["slope"], datasets=["discs*"])
    assert labels(suite) == [UNET, baseline]
    assert [metric.label for metric in suite.metrics] == ["psnr", "slope"]
    for pattern in (UNET, "unet", "unet[*"):
        assert labels(load(file, builtin, only=[pattern])) == [UNET, baseline]
    added = load(file, builtin, only=["identity"], entrants=["unet[width=3]", "identity"])
    assert labels(added) == ["identity", baseline, "unet[width=3]"]
    assert added.added == ("unet[width=3]",)
    # An added entrant is kept even if the file contains it.
    assert labels(load(file, builtin, only=["identity"], entrants=[UNET])) == [UNET, "identity", baseline]


def test_an_added_entrant_cannot_have_the_label_of_an_entrant_with_its_own_training(write_suite, builtin):
    file = write_suite(("levels: 1}", 'levels: 1, label: "unet[width=2,levels=1]", training: {steps: 3}}'))
    with pytest.raises(gahbench.GahbenchError, match=r"two entries have the label 'unet\[width=2,levels=1\]'"):
        load_suite(file, builtin, SuiteChanges(entrants=[UNET]))
