"""Settings, seeds and filters that change a suite for a run."""

import re
from pathlib import Path

import pytest
from tiny_runs import plan_suite

import gahbench
from gahbench._util.errors import SuiteError
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_changes import SuiteChanges


def load(file, registry, **changes):
    return load_suite(file, registry, SuiteChanges.from_arguments(**changes))


def test_settings_override_fields_of_the_file(write_suite, builtin):
    settings = ["training.steps=7", "scoring.sigmas=[25/255, 0.3]", "entrants.unet.width=3", "seeds=[4, 5]"]
    suite = load(write_suite(), builtin, settings=[*settings, "datasets.0.size=32", "description=another"])
    assert suite.training.steps == 7
    assert suite.scoring.sigmas == (25 / 255, 0.3)
    assert suite.entrants[0].label == "unet[width=3,levels=1]"
    assert suite.seeds == (4, 5)
    assert suite.datasets[0].label == "discs[size=32]"
    assert suite.description == "another"


def test_settings_add_missing_fields(write_suite, builtin):
    suite = load(write_suite(), builtin, settings={"limits.unit": 60, "entrants.identity": "bayes-shrink"})
    assert suite.limits.unit == 60
    assert [entrant.plugin.name for entrant in suite.entrants] == ["unet", "bayes-shrink", "oracle-threshold"]
    suite = load(write_suite(("  - identity\n", "  - bf-cnn\n")), builtin, settings=["entrants.bf-cnn.layers=3"])
    assert suite.entrants[1].parameters["layers"] == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.stepz=1", r"^--set training.stepz=1: unknown field 'training.stepz'; did you mean 'steps'"),
        ("trainig.steps=1", r"^--set trainig.steps=1: unknown field 'trainig'; did you mean 'training'"),
        ("training.steps=many", r"^--set training.steps=many: training.steps: input should be a valid integer"),
        ("scoring.sigmas=[0.1, -1]", r"^--set scoring.sigmas=\[0.1, -1\]: scoring.sigmas"),
        ("entrants.unet.wdth=1", r"^--set entrants.unet.wdth=1: .*unknown parameter 'wdth'"),
        ("entrants.unett.width=1", r"'unett' is not in the list; accepted: unet, identity, oracle-threshold, or a"),
        ("entrants.9.width=1", r"'9' is not in the list"),
        ("scoring.sigmas.0.x=1", r"the entry 0\.1 has no parameters by name"),
        ("entrants.2.basis.name=1", r"'name' is not a field, since 'haar' has no fields"),
        ("name.first=x", r"'first' is not a field, since 'tiny' has no fields"),
        ("training", r"^--set training; accepted: FIELD=VALUE, such as training.steps=100"),
        ("training..steps=1", r"accepted: FIELD=VALUE"),
        ("training={stepz: 5}", r"unknown field 'training.stepz'; did you mean 'steps'"),
        ("plugins=[x.py]", r"plugins are loaded before settings are applied; use --plugins-dir"),
        ("training.steps=[1", r"'\[1' cannot be read"),
    ],
)
def test_errors_name_the_setting(write_suite, builtin, setting, message):
    with pytest.raises(gahbench.GahbenchError, match=message):
        load(write_suite(), builtin, settings=[setting])


def test_errors_elsewhere_still_name_the_line(write_suite, builtin):
    with pytest.raises(gahbench.GahbenchError, match=r"tiny\.yaml:6: .*unknown parameter 'wide'"):
        load(write_suite(("width: 2", "wide: 2")), builtin, settings=["training.steps=1"])


def test_ambiguous_entries_are_set_by_index(write_suite, builtin):
    file = write_suite(("  - identity", "  - unet: {width: 3, levels: 1}"))
    with pytest.raises(gahbench.GahbenchError, match="'unet' is ambiguous: use its index, from 0"):
        load(file, builtin, settings=["entrants.unet.width=5"])
    assert load(file, builtin, settings=["entrants.1.width=5"]).entrants[1].parameters["width"] == 5
    assert load(file, builtin, settings=["entrants.1.unet.width=5"]).entrants[1].parameters["width"] == 5


def test_a_setting_changes_only_one_use_of_an_alias(write_suite, builtin):
    file = write_suite(
        ("  - unet: {width: 2, levels: 1}\n  - identity", "  - unet: &small {width: 2, levels: 1}\n  - bf-cnn: *small"),
        ("unet: &small {width: 2, levels: 1}", "unet: &small {width: 2}"),
    )
    suite = load(file, builtin, settings=["entrants.unet.width=7"])
    assert [entrant.parameters["width"] for entrant in suite.entrants[:2]] == [7, 2]


def test_filters_keep_the_baseline_and_psnr(write_suite, builtin):
    suite = load(write_suite(), builtin, only=["unet*"], metrics=["psnr"], datasets=["discs*"])
    assert [entrant.label for entrant in suite.entrants] == ["unet[width=2,levels=1]", "oracle-threshold[haar]"]
    assert [metric.label for metric in suite.metrics] == ["psnr"]
    by_label = load(write_suite(), builtin, only=["unet[width=2,levels=1]"], metrics=["slope"])
    assert len(by_label.entrants) == len(load(write_suite(), builtin, only=["unet[*"]).entrants) == 2
    assert [metric.label for metric in by_label.metrics] == ["psnr", "slope"]
    # Added entrants are not filtered out.
    assert len(load(write_suite(), builtin, only=["identity"], entrants=["wiener-linear"]).entrants) == 3
    # Adding an entrant does not keep entrants of the file, and an added entrant is kept even if the file contains it.
    other = load(write_suite(), builtin, only=["identity"], entrants=["unet[width=3]"])
    assert [entrant.label for entrant in other.entrants] == ["identity", "oracle-threshold[haar]", "unet[width=3]"]
    again = load(write_suite(), builtin, only=["identity"], entrants=["unet[width=2,levels=1]"])
    assert [entrant.label for entrant in again.entrants] == [
        "unet[width=2,levels=1]",
        "identity",
        "oracle-threshold[haar]",
    ]


@pytest.mark.parametrize(
    ("entrant", "message"),
    [
        ("unet[checkpoint=none.pt]", r"architecture 'unet': checkpoint='none\.pt': no such file in "),
        ("pretrained[unet,checkpoint=none.pt]", "reference 'pretrained': checkpoint='none"),
        ("unett", "unknown entrant 'unett'; did you mean 'unet'"),
    ],
)
def test_errors_of_added_entrants_name_the_option_and_its_value(write_suite, builtin, entrant, message):
    with pytest.raises(gahbench.GahbenchError, match=rf"^--entrant {re.escape(entrant)}: {message}"):
        load(write_suite(), builtin, entrants=[entrant])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"only": ["bf*"]}, r"--only bf\*: matches none of unet\[width=2,levels=1\], identity"),
        ({"datasets": ["faces"]}, r"--dataset faces: matches none of discs\[size=16\]"),
        ({"metrics": ["ssim"]}, r"--metric ssim: matches none of psnr, slope; .* --set scoring.metrics=\[\.\.\.\]"),
        ({"metrics": ["sloppe"]}, "did you mean 'slope'. it selects plugins of the suite"),
    ],
)
def test_a_filter_without_matches_lists_the_plugins(write_suite, builtin, changes, message):
    with pytest.raises(gahbench.GahbenchError, match=message):
        load(write_suite(), builtin, **changes)


def test_unusual_noise_levels_warn(write_suite, builtin):
    with pytest.warns(UserWarning, match=r"tiny\.yaml: sigmas 25 are above 1.*25/255"):
        load(write_suite(), builtin, settings=["scoring.sigmas=[25, 0.1]", "training.sigma_max=10"], only=["identity"])
    with pytest.warns(UserWarning, match=r"unet\[width=2,levels=1\] is scored at sigmas 0\.001, outside .* 0\.01, 1 "):
        load(write_suite(), builtin, settings=["scoring.sigmas=[0.001, 0.1]"])


def test_python_values_of_changes_are_converted_or_refused(write_suite, builtin):
    assert SuiteChanges.from_arguments(only="unet", settings="training.steps=3") == SuiteChanges(
        (), ("training.steps=3",), only=("unet",)
    )
    suite = load(write_suite(), builtin, settings={"entrants.identity.label": "nothing \U0001f680"})
    assert suite.entrants[1].label == "nothing \U0001f680"
    with pytest.raises(gahbench.GahbenchError, match=r"settings: 'datasets\.0\.path' is set to a PosixPath"):
        SuiteChanges.from_arguments(settings={"datasets.0.path": Path("x")})


def test_seeds_in_python_equal_those_of_the_command_line(write_suite):
    assert SuiteChanges.from_arguments(seeds=range(2)) == SuiteChanges(settings=("seeds=[0, 1]",))
    file = write_suite()
    planned = plan_suite(file, seeds=[4, 7], only=["unet*"], datasets=["discs*"], metrics=["psnr"])
    assert {unit.seed for unit in planned.units if unit.kind == "fit"} == {4, 7}
    with pytest.raises(SuiteError, match="--set seeds=\\[-1\\]"):
        plan_suite(file, seeds=[-1])
    for invalid in (3, [0.5], "01"):
        with pytest.raises(gahbench.ParameterError, match="accepted: a list of integers, such as"):
            plan_suite(file, seeds=invalid)
