"""Invalid suites: each error is a line that names the place, what is wrong, and what is accepted."""

import re
import time

import pytest
from sample_files import TINY

import gahbench
from gahbench._util.errors import GahbenchError, SuiteError
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import SuiteChanges, load_suite

UNET, HAAR = "unet: {width: 2, levels: 1}", "oracle-threshold: {basis: haar}"
BASIS = "oracle-threshold:\n      basis: "
#: What is replaced in the tiny suite, its replacement, the line of the error, and the message. The line is a number of
#: lines after the replaced one, or its text.
INVALID = [
    ("- discs:", "- disks:", 0, "unknown dataset 'disks'; did you mean 'discs'"),
    ("- unet:", "- unett:", 0, "unknown entrant 'unett'; did you mean 'unet'"),
    (UNET, "unet:\n      width: 2\n      widht: 1", 2, "unknown parameter 'widht'; did you mean 'width'"),
    ("width: 2", "width: 0", 0, "accepted: int ≥ 1"),
    ("width: 2", "width: []", 0, "0 combinations of values; accepted: 1 to 10000"),
    (UNET, "unet: {width: 2}\n    levels: 1", 0, "expected a single plugin, as its name, or name: {parameter: value}"),
    ("  - identity", "  - identity[", 0, "'identity[': expected a name or name[value,key=value,...]"),
    # Labels, and the training of an entrant.
    (UNET, 'unet: {label: "a\\nb"}', 0, "accepted: a single line of at most 200 characters"),
    ("[psnr, slope]", "[psnr, {slope: {label: a}}]", 0, "metric 'slope': unknown parameter 'label'"),
    (UNET, "unet: {training: {train_images: 4}}", 0, "unknown field 'entrants.0.unet.training.train_images'"),
    (UNET, "unet: {training: 3}", 0, "unknown field 'entrants.0.unet.training.3'; accepted: recipe, steps"),
    ("- identity", "- identity: {training: {steps: 3}}", 0, "reference 'identity' is not trained"),
    # Plugins in the values of parameters.
    (HAAR, BASIS + "harr", 1, "unknown basis 'harr'; did you mean 'haar'"),
    (HAAR, BASIS + "{wavelet: {levels: 2}}", 1, 'a valid string (accepted: basis name, written as "name" or'),
    ("[psnr, slope]", "[psnr, {rate: {basis: patch-graph}}]", 0, "metric 'rate': "),
    # Fields of the suite.
    ("name: tiny", "name: tiny/../..", 0, "name: string should match pattern"),
    ("name: tiny", '"na\\n": tiny', 0, "unknown field 'na\\n'"),
    ("datasets:\n  - discs: {size: 16}", "datasets: discs", 0, "datasets: input should be a valid list (got 'discs')"),
    ("baseline: oracle-threshold[haar]", "baseline: bayes-shrink", 0, "not among the entrants; accepted: unet[width"),
    ("baseline:", "seeds: [0, 0]\nbaseline:", 0, "seeds: repeats a value"),
    ("steps: 12", "step: 12", 0, "unknown field 'training.step'; did you mean 'steps'"),
    ("steps: 12", "steps: 12, epochs: 3", 0, "one budget, not steps and epochs"),
    ("steps: 12", "seconds: 5", 0, "allow_time_budget"),
    ("steps: 12", "steps: 12, learning_rate: .inf", 0, "learning_rate: input should be a finite number"),
    ("steps: 12", "steps: 12, snapshots: 1", 0, "accepted: 0, 2, 3"),
    ("steps: 12", "steps: {each: 3}", 0, "accepted: a whole number, or {per_image: 20, minimum: 500}"),
    ("steps: 12", "steps: 12, train_images: [1, 3, 1]", 0, "repeats a number"),
    ("steps: 12", "steps: 12, halves: true, split: B", 0, "trains on A and B already"),
    ("scoring: {", "scoring: 3 #", 0, "scoring: expected the fields sigmas, images, splits"),
    ("images: 3", "images: 3, splits: [validation]", 0, "scoring.splits: must include test, which the board"),
    # The plan.
    ("images: 3", "images: all", "discs", "images=all requested from the test split, which is endless"),
    ("metrics: [psnr, slope]", "metrics: [slope]", 0, "scoring.metrics must include psnr, by which the board ranks"),
    ("slope]", "model-variance]", 0, "applies to no entrant of the suite; it needs partner; accepted: 'halves"),
    ("slope]", "transfer-gap]", 0, "compares recorded with drawn noise: set 'sigmas: measured' under 'scoring'"),
    ("sigmas: [0.1, 0.3]", "sigmas: measured", "discs", "dataset 'discs[size=16]': the dataset has no recorded noisy"),
    # YAML.
    ("name: tiny", "name: tiny\nname: other", 1, "'name' is not the name of a field, or is repeated"),
    ("name: tiny", "name: &a [*a]", 0, "more than 40 levels"),
    ("name: tiny", "name: [tiny", 1, "not valid YAML"),
    ("name: tiny", 'name: "\\ud800"', 0, "\\ud800 is not accepted; accepted: characters but NUL"),
    (HAAR, "threshold: {basis: wavelet[db4]}", 0, "inside {} and [], strings with brackets need quotes"),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), INVALID)
def test_errors_name_the_file_the_line_and_accepted_values(write_suite, builtin, old, new, line, message):
    file = write_suite((old, new))
    where, later = (line, 0) if isinstance(line, str) else (old.splitlines()[0], line)
    first = next(number for number, text in enumerate(TINY.splitlines(), 1) if where in text)
    with pytest.raises(GahbenchError) as error:
        make_plan(load_suite(file, builtin))
    text = str(error.value)
    assert message in text
    assert text.startswith(f"{file}:{first + later}: "), text
    assert text.isprintable()


@pytest.mark.parametrize(
    ("changes", "place", "message"),
    [
        ({"settings": "training={stepz: 5}"}, "--set training={stepz: 5}", "unknown field 'training.stepz'"),
        ({"settings": "entrants.unet.wdth=1"}, "--set entrants.unet.wdth=1", "unknown parameter 'wdth'"),
        ({"settings": "name.first=x"}, "--set name.first=x", "'first' is not a field, since 'tiny' has no fields"),
        ({"settings": "training"}, "--set training", "accepted: FIELD=VALUE, such as training.steps=100"),
        ({"settings": "training.steps=[1"}, "--set training.steps=[1", "'[1' cannot be read"),
        ({"settings": {"name": object()}}, '--set name="<object object', "name: string should match pattern"),
        ({"seeds": 3}, "--set seeds=3", "seeds: input should be a valid list"),
        ({"entrants": ["unet[checkpoint=none.pt]"]}, "--entrant unet[checkpoint=none.pt]", "'none.pt': no such"),
        ({"only": ["bf*"]}, "--only bf*", "matches none of unet[width=2,levels=1], identity"),
        ({"metrics": ["sloppe"]}, "--metric sloppe", "did you mean 'slope'? it selects plugins of the suite"),
    ],
)
def test_errors_name_the_option(write_suite, builtin, changes, place, message):
    with pytest.raises(GahbenchError, match=rf"^{re.escape(place)}.*: .*{re.escape(message)}"):
        load_suite(write_suite(), builtin, SuiteChanges(**changes))


@pytest.mark.parametrize(
    ("entrants", "message"),
    [
        ("unet: {label: A, training: {steps: 3}}\n  - unet: {label: A}", "two entries have the label 'A'"),
        ("identity\n  - identity: {label: other}", "'identity' and 'other' are the same reference"),
    ],
)
def test_a_label_belongs_to_one_entry(write_suite, builtin, entrants, message):
    with pytest.raises(SuiteError, match=rf"tiny\.yaml:5: {message}"):
        load_suite(write_suite((UNET, entrants)), builtin)


@pytest.mark.parametrize("content", ["", "- a\n- b\n"])
def test_a_file_that_is_not_a_mapping_raises(write_suite, builtin, content):
    with pytest.raises(SuiteError, match="the file: expected the fields name, version"):
        load_suite(write_suite(text=content), builtin)


@pytest.mark.parametrize("name", ["quik", 10_000 * "a", "a\0b", "a\nb", "/"])
def test_invalid_names_and_folders_raise(builtin, name):
    with pytest.raises(SuiteError, match=r"^no suite .*neither a file nor a built-in suite.* quick") as error:
        load_suite(name, builtin)
    assert str(error.value).isprintable()


def test_bytes_that_are_not_utf8_raise(tmp_path, builtin):
    (tmp_path / "suite.yaml").write_bytes(b"name: tiny\nname: \xff")
    with pytest.raises(SuiteError, match=r"suite.yaml: cannot be read: 'utf-8' codec can't decode byte 0xff"):
        load_suite(tmp_path / "suite.yaml", builtin)


def test_aliases_that_expand_to_many_values_raise_quickly(write_suite, builtin):
    lines = ["a0: &a0 x", *(f"a{level}: &a{level} [*a{level - 1}, *a{level - 1}]" for level in range(1, 40))]
    started = time.process_time()
    with pytest.raises(SuiteError, match="more than 40 levels, or 50000 values"):
        load_suite(write_suite(text="\n".join(lines)), builtin)
    assert time.process_time() - started < 1


def test_an_unknown_entrant_without_plugin_files_suggests_plugins_dir(write_suite, write_plugin, builtin):
    file = write_suite(("- identity", "- nobody"))
    with pytest.raises(SuiteError, match=r"unknown entrant 'nobody'.*; --plugins-dir FILE_OR_FOLDER loads plugins"):
        load_suite(file, builtin)
    with pytest.raises(SuiteError) as error:
        load_suite(file, gahbench.Registry((write_plugin("somebody", "return noisy"),)))
    assert "--plugins-dir" not in str(error.value)
