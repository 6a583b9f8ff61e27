"""The corpus of refusals: each invalid input, with the place and the words that its error must have.

The inputs are suites, options, specs, parameters of plugins, arguments of functions, and commands. The text of messages
is asserted here alone; other tests assert the type of an error, and the name or line that it must contain.
"""

import functools
import math
import re
import threading
import time
from typing import Annotated

import pytest
from sample_files import TINY
from typed_plugin import Plugin

import gahbench
from gahbench import Basis, GahbenchError, Names
from gahbench.explore.drawing import draw_approximation, draw_geometry
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import SuiteChanges, load_suite
from gahbench.registry.parameters import constructor_parameters, resolve
from gahbench.registry.spec import parse_spec

UNET, HAAR = "unet: {width: 2, levels: 1}", "oracle-threshold: {basis: haar}"
BASIS = "oracle-threshold:\n      basis: "
FINITE = "finite[discs[size=8],count=4]"
#: What is replaced in the tiny suite, its replacement, the line of the error, and words. The line is a number of lines
#: after the replaced one, or its text.
SUITES = [
    ("- sinusoids:", "- sinusoid:", 0, "unknown dataset 'sinusoid'; did you mean 'sinusoids'"),
    ("- unet:", "- unett:", 0, "unknown entrant 'unett'; did you mean 'unet'"),
    ("- identity", "- nobody", 0, "; --plugins-dir FILE_OR_FOLDER loads plugins"),
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
    (UNET, "unet: {label: A}\n  - bf-cnn: {label: A}", "entrants:", "two entries have the label 'A'"),
    ("- identity", "- identity\n  - identity: {label: b}", "entrants:", "'identity' and 'b' are the same reference"),
    # Plugins in the values of parameters.
    (HAAR, BASIS + "harr", 1, "unknown basis 'harr'; did you mean 'haar'"),
    (HAAR, BASIS + "{wavelet: {levels: 2}}", 1, 'a valid string (accepted: basis name, written as "name" or'),
    ("[psnr, slope]", "[psnr, {rate: {basis: iso-local}}]", 0, "metric 'rate': "),
    # Fields of the suite.
    ("name: tiny", "name: tiny/../..", 0, "name: string should match pattern"),
    ("name: tiny", '"na\\n": tiny', 0, "unknown field 'na\\n'"),
    ("name: tiny", "name: tiny\nversion: 0", 1, "version"),
    ("datasets:\n  - sinusoids: {size: 16}", "datasets: discs", 0, "datasets: input should be a valid list"),
    ("baseline: oracle-threshold[haar]", "baseline: bayes-shrink", 0, "not among the entrants; accepted: unet[width"),
    ("baseline:", "seeds: [0, 0]\nbaseline:", 0, "seeds: repeats a value"),
    ("steps: 12", "step: 12", 0, "unknown field 'training.step'; did you mean 'steps'"),
    ("steps: 12", "steps: 12, epochs: 3", 0, "give one budget: steps or epochs, not both"),
    ("steps: 12", "steps: 12, learning_rate: .inf", 0, "learning_rate: input should be a finite number"),
    ("steps: 12", "steps: 12, snapshots: 1", 0, "accepted: 0, 2, 3"),
    ("steps: 12", "steps: {each: 3}", 0, "accepted: a whole number, or {per_image: 20, minimum: 500}"),
    ("steps: 12", "steps: 12, train_images: [1, 3, 1]", 0, "repeats a number"),
    ("steps: 12", "steps: 12, halves: true, split: B", 0, "trains on A and B already"),
    ("scoring: {", "scoring: 3 #", 0, "scoring: expected the fields sigmas, images, splits"),
    ("images: 3", "images: 3, splits: [validation]", 0, "scoring.splits: must include test, which the board"),
    ("[0.1, 0.3]", "[25, 0.1]", 0, "scoring.sigmas.0: must be at most 10, "),
    # The plan.
    ("images: 3", "images: all", "sinusoids", "images=all requested from the test split, which is endless"),
    ("metrics: [psnr, slope]", "metrics: [slope]", 0, "scoring.metrics must include psnr, by which the board ranks"),
    ("slope]", "model-variance]", 0, "applies to no entrant of the suite; it needs partner; accepted: 'halves"),
    ("slope]", "transfer-gap]", 0, "compares recorded with drawn noise: set 'sigmas: measured' under 'scoring'"),
    ("sigmas: [0.1, 0.3]", "sigmas: measured", "sinusoids", "the dataset has no recorded noisy"),
    # YAML.
    ("name: tiny", "name: tiny\nname: other", 1, "'name' is not the name of a field, or is repeated"),
    ("name: tiny", "name: &a [*a]", 0, "more than 40 levels"),
    ("name: tiny", "name: [tiny", 1, "not valid YAML"),
    ("name: tiny", 'name: "\\ud800"', 0, "\\ud800 is not accepted; accepted: characters but NUL"),
    (HAAR, "threshold: {basis: wavelet[db4]}", 0, "inside {} and [], strings with brackets need quotes"),
]
#: Options of a run, the place of the error, and words.
OPTIONS = [
    ({"settings": "training={stepz: 5}"}, "--set training={stepz: 5}", "unknown field 'training.stepz'"),
    ({"settings": "entrants.unet.wdth=1"}, "--set entrants.unet.wdth=1", "unknown parameter 'wdth'"),
    ({"settings": "name.first=x"}, "--set name.first=x", "'first' is not a field, since 'tiny' has no fields"),
    ({"settings": "training"}, "--set training", "accepted: FIELD=VALUE, such as training.steps=100"),
    ({"settings": "training.steps=[1"}, "--set training.steps=[1", "'[1' cannot be read"),
    ({"settings": {"name": object()}}, '--set name="<object object', "name: string should match pattern"),
    ({"seeds": 3}, "--set seeds=3", "seeds: expected a list of seeds, such as [0, 1, 2]"),
    ({"entrants": ["unet[checkpoint=none.pt]"]}, "--entrant unet[checkpoint=none.pt]", "'none.pt': no such"),
    ({"only": ["bf*"]}, "--only bf*", "matches none of unet[width=2,levels=1], identity"),
    ({"metrics": ["sloppe"]}, "--metric sloppe", "did you mean 'slope'? it selects plugins of the suite"),
]
EMPTY_OR_OPEN = "a parameter is empty, or a quote is not closed"
SPECS = [
    *((text, "expected a name or name") for text in ("", "[a=1]", "a" * 101, f"x[a={20_000 * 'x'}]")),
    ("unet[width=1", "not closed"),
    *((text, "brackets do not match") for text in ("unet[width=[1]", "unet[a={x]", "unet[width=1]]")),
    ("unet[a=" + 41 * "[" + 41 * "]" + "]", "nested more than 40 deep"),
    ("unet[width=1,width=2]", "given twice"),
    ("unet[width=1,2]", "after a named parameter"),
    *((text, EMPTY_OR_OPEN) for text in ("u[,]", "u[a='x]", 'u[a="x\\"]')),
    *((f"u[a={value}]", "cannot read the value") for value in ("@x", "!!python/name:os.system", "&b [*b]", '"\\0"')),
    (f"unet[a={2**63}]", f"'{2**63}': {2**63} is not accepted; accepted: characters but NUL, and integers"),
]
#: Kinds and specs of plugins.
PLUGINS = [
    ("architecture", "unett", "unknown architecture 'unett'; did you mean 'unet'"),
    ("reference", "oracle-threshold[sym44]", "did you mean 'sym4'"),
    ("reference", "oracle-threshold[basis=dct[levels=3]]", "basis=dct[levels=3]: basis 'dct': unknown parameter"),
    ("basis", "wavelet[db4,name=db2]", "values db4, name=...; accepted, once each: name, levels"),
    ("basis", "pixel[3]", "basis 'pixel': cannot assign the values 3; accepted, once each: none"),
]


def required(width: int, basis: Annotated[Basis, Names("basis")]): ...


PARAMETERS = [
    (Plugin, {"widht": 3}, "unknown parameter 'widht'; did you mean 'width'"),
    (Plugin, {"width": "16"}, "width='16'"),
    (Plugin, {"width": 0}, "accepted: int ≥ 1, ≤ 512"),
    (Plugin, {"width": 2.5}, "width=2.5"),
    (Plugin, {"width": object()}, "not a plain, finite value"),
    (Plugin, {"mode": "c"}, "accepted: 'a' or 'b'"),
    (Plugin, {"sizes": 3}, "accepted: list of int"),
    (Plugin, {"basis": 3}, "accepted: basis name or null"),
    (Plugin, {"bases": "dct"}, "accepted: list of basis name or null"),
    (Plugin, {"rate": math.inf}, "rate=inf: not a plain, finite value (accepted: float)"),
    (Plugin, {"channels": 3}, "come from the dataset"),
    (required, {"basis": "dct"}, "'width' (int) is required"),
    (required, {"width": 3}, "'basis' (basis name) is required"),
]


def untyped(width=3): ...


def hidden(**options: int): ...


def arbitrary(bound: threading.Event): ...


def infinite(bound: object = (1.0, -math.inf)): ...


def with_default(basis: Annotated[Basis, Names("basis")] = "dct"): ...


CONSTRUCTORS = [
    (untyped, "parameter 'width' needs a type annotation"),
    (hidden, "hides parameters"),
    (arbitrary, "parameter 'bound' has the type threading.Event, which suites cannot write; accepted: numbers"),
    (infinite, "the default bound=(1.0, -inf) is not finite"),
    (with_default, "write its default as Names('basis', default=...)"),
]


def approximation(*arguments, **options):
    return list(draw_approximation(gahbench.Registry(), *arguments, **options))


def geometry(*arguments, **options):
    return list(draw_geometry(gahbench.Registry(), *arguments, **options))


DISCS = {"dataset": "discs[size=8]"}
create = gahbench.create
preview, inspect, sample = gahbench.preview, gahbench.inspect, gahbench.sample
#: Functions, their positional and named arguments, and words.
FUNCTIONS = [
    (create, ("reference", "heat-kernel[wavelet-ti[bior2.2]]"), {}, "basis 'wavelet-ti': 'bior2.2' is not"),
    (preview, ("discs[size=8]", [0.1]), {"count": 33}, "count=33; accepted: 1 to 32"),
    (preview, ("discs[size=8]", [0.1]), {"start": -1}, "start=-1; accepted: 0 or more"),
    (preview, ("discs[size=8]", [0.1]), {"split": "trian"}, "did you mean 'train'"),
    (preview, ("faces[size=8]", [0.1]), {"count": 3, "start": 23}, "3 test images requested from index 23, but the"),
    (inspect, ("low-pass",), {**DISCS, "ranks": [3, 65]}, "ranks 65; accepted: 1 to 64"),
    (inspect, ("low-pass",), {"device": "tpu"}, "device=tpu"),
    (inspect, ("low-pass",), {"others": 3}, "others=3; accepted: 23 to 63, or 0"),
    (inspect, ("low-pass",), {"index": -1}, "test image -1 requested; accepted: 0 to 23"),
    (inspect, ("low-pass",), {"index": 24}, "test image 24 requested; accepted: 0 to 23"),
    (inspect, ("low-pass",), {**DISCS, "bases": ["true-basis"]}, "basis 'true-basis' on discs[size=8]"),
    (inspect, ("lower-bound",), {"dataset": "faces[size=8]"}, "not defined on a dataset whose optimum is 'none'"),
    (inspect, ("tv",), DISCS, "has no Jacobian"),
    (sample, ("optimall",), {}, "did you mean 'optimal'"),
    (sample, ("unet",), {}, "has no weights: give a checkpoint"),
    (sample, ("oracle-shrink",), DISCS, "on discs[size=8]: denoisers of kind 'oracle' need"),
    (sample, ("optimal",), {"dataset": "c-alpha[size=8]"}, "not defined on a dataset whose optimum is 'bracket'"),
    (sample, ("optimal",), {"dataset": FINITE, "levels": 7}, "levels belongs to the flow sampler"),
    (sample, ("optimal",), {"dataset": FINITE, "batch": 0}, "batch=0; accepted: 1, 2, ..."),
    (sample, ("wiener-linear",), {"dataset": "faces[path=/nowhere]"}, "/nowhere: no such file or folder"),
    # Settings are checked before files are read.
    (sample, ("wiener-linear",), {"dataset": "faces[path=/nowhere]", "bta": 1}, "setting 'bta'; did you mean 'beta'"),
    (approximation, (["gaussian-field[size=15]"],), {"bases": ["sym4"], "images": 2}, "basis 'sym4' on gaussian-field"),
    (approximation, (["discs[size=16]"],), {"bases": ["wavelet-ti"], "images": 2}, "not orthonormal"),
    (approximation, (["discs[size=16]"],), {"bases": ["true-basis"], "images": 2}, ": not defined on a dataset"),
    (geometry, (["discs[size=32]"],), {"basis": "dct"}, "basis 'dct': has no geometry to draw"),
]
COMMANDS = [
    (["run", "quikc"], "did you mean 'quick'"),
    (["run", "quick", "--device", "gpu"], "device 'gpu' is not accepted; accepted: auto, cpu, cuda"),
    (["run", "quick", "--plugins-dir", "none"], "no such plugin file"),
    (["run", "quick", "--entrant", "unet[width=16"], "not closed"),
    (["list", "metrcs"], "did you mean 'metrics'"),
    (["describe", "x"], "'x'; 'gahbench list' prints all names"),
    (["leaderboard", "."], "results"),
    (["status", "none"], "expected a results folder"),
    (["new", "architecture", "My Denoiser"], "lower-case words"),
    (["new", "architecture", "unet"], "already"),
    (["preview", "discs", "-s", "loud"], "loud"),
    (["preview", "discs", "-o", "sheet.jpg"], "accepted: .png, .svg, .pdf"),
    (["inspect", "low-pass", "-s", "1/0"], "--sigma 1/0; accepted"),
    (["preview", "discs", "-s", "25"], "is written 25/255"),
    (["inspect", "low-pass", "-o", "x.svg"], "accepted: a folder, or a .pdf"),
    (["sample", "optimal", "--device", "gpu"], "accepted: auto, cpu, or cuda"),
    (["draw", "psnr", "a", "b"], "a, b; this figure accepts a single results"),
    (["draw", "geometry[dct]", "discs"], "accepted: basis, threshold, index"),
    (["claims", "-c", "mohan-2002"], "no claim matches 'mohan-2002'"),
]


@pytest.fixture
def doors(write_suite, builtin):
    """Return functions that pass an input to gahbench, by the name of its table."""

    def plan_changed(changes, **options):
        return make_plan(load_suite(write_suite(*changes), builtin, SuiteChanges(**options)))

    return {
        "suite": lambda old, new: plan_changed([(old, new)]),
        "option": lambda options: plan_changed([], **options),
        "spec": parse_spec,
        "plugin": builtin.configure,
        "parameter": lambda factory, given: resolve(constructor_parameters(factory, "x"), given, "x"),
        "constructor": lambda factory: constructor_parameters(factory, "x"),
        "function": lambda function, arguments, options: function(*arguments, **options),
    }


def rows():
    """Yield the name of a table, and the input, the start of the error, and words in it, of each of its rows."""
    lines = TINY.splitlines()
    for old, new, line, words in SUITES:
        where, later = (line, 0) if isinstance(line, str) else (old.splitlines()[0], line)
        number = next(number for number, text in enumerate(lines, 1) if where in text)
        yield "suite", (old, new), f"FOLDER/tiny.yaml:{number + later}: ", words
    yield from (("option", (options,), place, words) for options, place, words in OPTIONS)
    yield from (("spec", (text,), "", words) for text, words in SPECS)
    yield from (("plugin", (kind, spec), "", words) for kind, spec, words in PLUGINS)
    yield from (("parameter", (factory, given), "x: ", words) for factory, given, words in PARAMETERS)
    yield from (("constructor", (factory,), "x: ", words) for factory, words in CONSTRUCTORS)
    yield from (("function", (call, *given), "", words) for call, *given, words in FUNCTIONS)


@pytest.mark.parametrize(("door", "given", "place", "words"), list(rows()))
def test_a_refusal_is_a_line_with_its_place_and_what_is_accepted(doors, tmp_path, door, given, place, words):
    with pytest.raises(GahbenchError) as error:
        doors[door](*given)
    text = str(error.value)
    assert words in text
    assert text.startswith(place.replace("FOLDER", str(tmp_path))), text
    # Errors of YAML in options show the place in several lines.
    assert text.isprintable() or door == "option"


@pytest.mark.parametrize(("arguments", "words"), COMMANDS, ids=str)
def test_a_refused_command_ends_in_status_2_and_leaves_no_file(command, tmp_path, arguments, words):
    status, _, stderr = command(arguments[0])(*arguments[1:])
    assert (status, "Traceback" in stderr) == (2, False), stderr
    assert words in " ".join(stderr.split())
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        ([-0.1], r"sigmas(\.0)?: input should be greater than 0 \(got -0\.1\)"),
        ([25], r"sigmas(\.0)?: must be at most 10, since images lie in \[0, 1\]; .* written 25/255"),
        (0.1, r"sigmas: input should be a valid list \(got 0\.1\)"),
    ],
)
def test_noise_levels_are_refused_in_the_words_of_suites(sigmas, message):
    for call in (
        functools.partial(gahbench.score, lambda noisy, sigma: noisy, "discs[size=8]", sigmas=sigmas),
        functools.partial(gahbench.preview, "discs[size=8]", sigmas),
        functools.partial(gahbench.inspect, "low-pass", dataset="discs[size=8]", sigmas=sigmas),
        functools.partial(gahbench.run, "quick", "out", settings={"scoring.sigmas": sigmas}),
    ):
        with pytest.raises(GahbenchError, match=message):
            call()


@pytest.mark.parametrize("content", ["", "- a\n- b\n", b"name: tiny\nname: \xff"])
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path, builtin, content):
    file = tmp_path / "suite.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(
        GahbenchError, match=r"suite\.yaml(:1)?: (the file: expected the fields name|cannot be read: 'utf-8')"
    ):
        load_suite(file, builtin)


@pytest.mark.parametrize("name", ["quik", 10_000 * "a", "a\0b", "a\nb", "/"])
def test_invalid_names_and_folders_of_suites_are_refused(builtin, name):
    with pytest.raises(GahbenchError, match=r"^no suite .*neither a file nor a built-in suite.* quick") as error:
        load_suite(name, builtin)
    assert str(error.value).isprintable()


def test_aliases_that_expand_to_many_values_are_refused_quickly(write_suite, builtin):
    lines = ["a0: &a0 x", *(f"a{level}: &a{level} [*a{level - 1}, *a{level - 1}]" for level in range(1, 40))]
    started = time.process_time()
    with pytest.raises(GahbenchError, match="more than 40 levels, or 50000 values"):
        load_suite(write_suite(text="\n".join(lines)), builtin)
    assert time.process_time() - started < 1


def test_an_unknown_entrant_suggests_no_option_that_was_given(write_suite, write_plugin):
    registry = gahbench.Registry((write_plugin("somebody", "return noisy"),))
    with pytest.raises(GahbenchError, match=re.escape("unknown entrant 'nobody'")) as error:
        load_suite(write_suite(("- identity", "- nobody")), registry)
    assert "--plugins-dir" not in str(error.value)
