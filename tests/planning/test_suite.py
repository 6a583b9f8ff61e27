"""Suite files: grids, defaults, and errors that name the line."""

import resource
import time

import pytest
from sample_files import TINY

from gahbench._util.errors import SuiteError
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_version import suite_version


def test_lists_make_grids(write_suite, builtin):
    file = write_suite(("- unet: {width: 2, levels: 1}", "- unet: {width: [2, 4], levels: [1, 2]}"))
    grid = [f"unet[width={width},levels={levels}]" for width in (2, 4) for levels in (1, 2)]
    assert [entrant.label for entrant in load_suite(file, builtin).entrants] == [
        *grid,
        "identity",
        "oracle-threshold[haar]",
    ]


def test_entries_may_be_texts_and_duplicates_are_dropped(write_suite, builtin):
    file = write_suite(("  - identity", '  - identity\n  - "unet[width=2,levels=1]"\n  - identity'))
    labels = [entrant.label for entrant in load_suite(file, builtin).entrants]
    assert labels == ["unet[width=2,levels=1]", "identity", "oracle-threshold[haar]"]


def test_added_entrants_are_marked(write_suite, builtin):
    suite = load_suite(write_suite(), builtin, ("bf-cnn[width=2,layers=3]", "identity"))
    assert suite.added == ("bf-cnn[width=2,layers=3]",)


def test_a_recipe_sets_defaults(write_suite, builtin):
    training = load_suite(write_suite(), builtin).training
    assert (training.recipe, training.noise, training.weighting) == ("kl", "log-uniform", "inverse-variance")
    assert (training.steps, training.epochs) == (12, None)


LINES = TINY.splitlines()
AT = {text: 1 + next(index for index, line in enumerate(LINES) if text in line) for text in ("discs", "unet", "haar}")}
AT |= {
    text: 1 + next(index for index, line in enumerate(LINES) if line.startswith(text))
    for text in ("base", "tra", "sco")
}


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("- discs:", "- disks:", AT["discs"], "unknown dataset 'disks'; did you mean 'discs'"),
        ("- unet:", "- unett:", AT["unet"], "unknown entrant 'unett'; did you mean 'unet'"),
        ("width: 2", "widht: 2", AT["unet"], "unknown parameter 'widht'; did you mean 'width'"),
        ("width: 2", "width: two", AT["unet"], "width='two'"),
        ("width: 2", "width: 0", AT["unet"], "accepted: int ≥ 1"),
        ("width: 2", "width: []", AT["unet"], "an empty list"),
        ("basis: haar", "basis: harr", AT["haar}"], "unknown basis 'harr'; did you mean 'haar'"),
        ("baseline: oracle-threshold[haar]", "baseline: bayes-shrink", AT["base"], "not among the entrants"),
        ("steps: 12", "step: 12", AT["tra"], "unknown field 'training.step'; did you mean 'steps'"),
        ("steps: 12", "steps: many", AT["tra"], "training.steps"),
        ("steps: 12", "steps: 12, epochs: 3", AT["tra"], "one budget, not steps and epochs"),
        ("steps: 12", "seconds: 5", AT["tra"], "allow_time_budget"),
        ("steps: 12", "steps: 12, sigma_min: 0.0", AT["tra"], "sigma_min > 0"),
        ("sigmas: [0.1, 0.3]", "sigmas: [0.1, -0.3]", AT["sco"], "greater than 0 (got -0.3)"),
        ("sigmas: [0.1, 0.3]", "sigmas: []", AT["sco"], "at least one value"),
        ("sigmas: [0.1, 0.3]", "sigmas: [0.1, 0.1]", AT["sco"], "repeats a value"),
        (
            "images: 3",
            "images: 3, splits: [validation]",
            AT["sco"],
            "scoring.splits: must include test, which the board",
        ),
        ("[psnr, slope]", "[psnr, {decay: {max_terms: 0}}]", AT["sco"], "max_terms=0: input should be greater than 0"),
        ("scoring:", "scorings:", AT["sco"], "scoring"),
        ("metrics: [psnr, slope]", "metrics: [psnr, slop]", AT["sco"], "unknown metric 'slop'; did you mean 'slope'"),
        (
            "steps: 12",
            "steps: 12, learning_rate: .inf",
            AT["tra"],
            "learning_rate: input should be a finite number",
        ),
        ("sigmas: [0.1, 0.3]", "sigmas: [0.1, .nan]", AT["sco"], "scoring.sigmas.1: input should be a finite number"),
        ("- identity", "- gaussian-blur: {width: .inf}", AT["unet"] + 1, "width=inf: not a finite number"),
        ("- identity", "- gaussian-blur[width=.inf]", AT["unet"] + 1, "width=inf: not a finite number"),
        ("width: 2", "width: 1_0", AT["unet"], "width='1_0'"),
        ("width: 2", "width: 12:30", AT["unet"], "width='12:30'"),
        (
            "steps: 12",
            "steps: 12, halves: on",
            AT["tra"],
            "halves: input should be a valid boolean (got 'on')",
        ),
        ("baseline:", "seeds: [0, 0]\nbaseline:", AT["base"], "seeds: repeats a value"),
        ("name: tiny", "name: t i", 2, "name: accepted: letters, digits"),
        ("datasets:\n  - discs: {size: 16}", "datasets: discs", 3, "datasets: expected a list (got 'discs')"),
        ("  - identity", "  - 3", AT["unet"] + 1, "expected a plugin's name, or name: {parameter: value} (got 3)"),
        ("scoring: {", "scoring: 3 #", AT["sco"], "scoring: expected fields with values (got 3)"),
        ("steps: 12", "recipe: [kl]", AT["tra"], "training.recipe"),
        ("name: tiny", "? [a, b]\n: c\nname: tiny", 2, "expected the name of a field"),
        ("name: tiny", "name: &a [*a]", 2, "more than 40 levels of lists and mappings"),
        ("name: tiny", "name: tiny\nname: other", 3, "the field 'name' is repeated"),
        ("name: tiny", "name: [tiny", 3, "not valid YAML"),
        ("name: tiny", f"name: {101 * 'a'}", 2, "name: string should have at most 100 characters"),
        ("name: tiny", "name: tiny/../..", 2, "name: accepted: letters, digits"),
        ("name: tiny", '"na\\n": tiny', 2, "unknown field 'na\\n'"),
        ("name: tiny", "name: !!python/object/apply:os.getcwd []", 2, "the tag '!!python/object/apply:os.getc"),
        ("name: tiny", "name: !!timestamp 2024-13-45", 2, "the tag '!!timestamp' is not accepted"),
        ("name: tiny", 'name: "\\ud800"', 2, "the character U+D800 is not accepted"),
        ("name: tiny", 'name: "a\\0"', 2, "the character U+0000 is not accepted"),
        ("name: tiny", "name: a\0b", 2, "unacceptable character #x0000"),
        ("steps: 12", f"steps: {10**400}", AT["tra"], "is not accepted; accepted: integers of 64 bits"),
        ("size: 16", f"size: {2**63}", AT["discs"], f"accepted: integers of 64 bits, -{2**63} to {2**63 - 1}"),
        ("baseline:", f"seeds: [{2**63}]\nbaseline:", AT["base"], f"{2**63} is not accepted"),
        ("steps: 12", "steps: 12, snapshots: 4000000000", AT["tra"], "less than or equal to 1000"),
        ("steps: 12", "train_images: 8, steps: {per_image: 1e308}", AT["tra"], "less than or equal to 1000000000"),
        ("name: tiny", "name: " + 41 * "[" + 41 * "]", 2, "more than 40 levels of lists and mappings"),
        ("name: tiny", "name: " + 100_000 * "[", 1, "more than 40 levels of lists and mappings"),
        ("name: tiny", f"name: [{50_001 * 'x,'}]", 2, "more than 50000 values"),
        (
            "width: 2",
            f"width: {[*range(1, 10_002)]}",
            AT["unet"],
            "10001 combinations of values; accepted: at most 10000",
        ),
        ("- identity", "- bf-cnn: {layers: 2147483648}", AT["unet"] + 1, "layers=2147483648: input should be less"),
        ("levels: 1", f"levels: {[*range(9000)]}, bias: {[*range(9000)]}", AT["unet"], "81000000 combinations of val"),
    ],
)
def test_errors_name_the_file_the_line_and_accepted_values(write_suite, builtin, old, new, line, message):
    file = write_suite((old, new))
    with pytest.raises(SuiteError) as error:
        load_suite(file, builtin)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{file}:{line}: "), error.value


@pytest.mark.parametrize("form", ["[{}]", "{{{}}}"])
def test_aliases_that_expand_to_many_values_raise_quickly(write_suite, builtin, form):
    lines = ["a0: &a0 x"]
    for level in range(1, 40):
        inner = [f"*a{level - 1}", f"*a{level - 1}"]
        text = ", ".join(
            inner if form == "[{}]" else [f"{name}: {alias}" for name, alias in zip("bc", inner, strict=True)]
        )
        lines.append(f"a{level}: &a{level} {form.format(text)}")
    started, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        SuiteError, match=r"more than 40 levels|more than 50000 values, counting repetitions by aliases"
    ):
        load_suite(write_suite(text="\n".join(lines)), builtin)
    assert time.process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100_000


def test_aliases_count_for_the_depth_of_nesting(write_suite, builtin):
    chain = [f"a{level}: &a{level} [*a{level - 1}]" for level in range(1, 60)]
    with pytest.raises(SuiteError, match=r"tiny.yaml:\d+: not valid YAML: more than 40 levels of lists and mappings"):
        load_suite(write_suite(text="\n".join(["a0: &a0 x", *chain])), builtin)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: tiny\nname: \xff", r"suite.yaml: cannot be read: 'utf-8' codec can't decode byte 0xff in position 17"),
        ("name: tiny".encode("utf-16"), r"suite.yaml: cannot be read: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_invalid_text_raises_before_parsing(tmp_path, builtin, content, message):
    file = tmp_path / "suite.yaml"
    file.write_bytes(content)
    with pytest.raises(SuiteError, match=message):
        load_suite(file, builtin)


def test_a_suite_with_too_many_units_raises_quickly(write_suite, builtin):
    seeds = f"seeds: {[*range(5000)]}\nbaseline:"
    file = write_suite(("width: 2", f"width: {[*range(1, 101)]}"), ("baseline:", seeds))
    started = time.process_time()
    with pytest.raises(SuiteError, match=r"tiny.yaml: gives 1500004 units; accepted: at most 1000000"):
        make_plan(load_suite(file, builtin))
    assert time.process_time() - started < 5


@pytest.mark.parametrize("name", [10_000 * "a", "a\0b", "a\nb", 300 * "a/"])
def test_invalid_names_and_folders_raise(builtin, tmp_path, name):
    with pytest.raises(SuiteError, match="no suite ") as error:
        load_suite(name, builtin)
    assert str(error.value).isprintable()
    with pytest.raises(
        SuiteError, match=r"is a folder; accepted: the YAML file of a suite, or a built-in suite: .*quick"
    ):
        load_suite(tmp_path, builtin)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text"])
def test_a_file_that_is_not_a_mapping_raises_an_error(write_suite, builtin, text):
    with pytest.raises(SuiteError, match="a suite is a mapping"):
        load_suite(write_suite(text=text), builtin)


def test_networks_of_the_frozen_suite_are_also_scored_after_half_of_their_steps(builtin):
    suite = load_suite("standard-1", builtin)
    assert suite_version(suite.text) is not None
    steps = suite.training.total_steps(None)
    assert suite.training.snapshot_steps(steps)[-2:] == (steps // 2, steps)
    assert steps * suite.training.batch_size <= 150_000
    for training in suite.trainings.values():
        changed = {"learning_rate": suite.training.learning_rate}
        assert training.model_copy(update=changed) == suite.training
        assert training.schedule == "constant"
        assert training.ema is not None


def test_the_learning_rates_of_the_frozen_suite_are_from_a_search_of_three_rates_for_a_fifth_of_the_steps(builtin):
    suite, search = load_suite("standard-1", builtin), load_suite("standard-1-search", builtin)
    candidates: dict[str, set[float]] = {}
    for entrant in search.entrants:
        candidates.setdefault(entrant.text, set()).add(search.trainings[entrant.label].learning_rate)
    networks = [entrant for entrant in suite.entrants if entrant.kind == "architecture"]
    assert {entrant.text for entrant in networks} == set(candidates)
    for entrant in networks:
        training = suite.trainings.get(entrant.label, suite.training)
        assert len(candidates[entrant.text]) == 3
        assert training.learning_rate in candidates[entrant.text]
        fifth = {"steps": suite.training.steps // 5, "ema": 0.99, "snapshots": 0, "learning_rate": 0.1}
        assert training.model_copy(update=fifth) == search.training.model_copy(update={"learning_rate": 0.1})
    assert {dataset.text for dataset in search.datasets} < {dataset.text for dataset in suite.datasets}
