"""Parameters that name plugins: strings, mappings and lists at any depth, and errors that name the line."""

import pytest

from gahbench._util.errors import SuiteError
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite

ENTRANT = "  - oracle-threshold: {basis: haar}"
BEST = "  - oracle-best-basis: "


def entrants(write_suite, builtin, text):
    """Append a YAML entry to the entrants of the tiny suite, and return the appended entrants."""
    return load_suite(write_suite((ENTRANT, f"{ENTRANT}\n{text}")), builtin).entrants[3:]


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ("threshold: {basis: {wavelet: {name: db4}}, k: 2}", "threshold: {basis: 'wavelet[db4]', k: 2}"),
        ("threshold: {basis: {dct: }}", "threshold: {basis: dct}"),
        ("threshold: {basis: {dct: {}}}", "threshold: {basis: dct}"),
        (
            "cycle-spin: {reference: {threshold: {basis: {wavelet: {name: db4}}, k: 2}}}",
            "cycle-spin: {reference: 'threshold[wavelet[db4],k=2]'}",
        ),
        (
            "oracle-best-basis: {bases: [haar, {wavelet: {name: db4, levels: 2}}]}",
            "oracle-best-basis: {bases: [haar, 'wavelet[db4,levels=2]']}",
        ),
    ],
)
def test_a_mapping_is_the_same_as_a_text(write_suite, builtin, mapping, text):
    (actual,) = entrants(write_suite, builtin, f"  - {mapping}")
    (expected,) = entrants(write_suite, builtin, f"  - {text}")
    assert actual.label == expected.label
    assert actual.parameters == expected.parameters
    assert actual.identity == expected.identity


def test_parameters_of_datasets_and_metrics_may_be_mappings(write_suite, builtin):
    def keys(dataset, metric):
        changes = (("discs: {size: 16}", dataset), ("[psnr, slope]", f"[psnr, {metric}]"))
        return [unit.key for unit in make_plan(load_suite(write_suite(*changes), builtin)).units]

    mappings = keys("rays: {image: {discs: {size: 8}}}", "sparsity: {basis: {wavelet: {name: db4, levels: 2}}}")
    assert mappings == keys("rays: {image: 'discs[size=8]'}", "sparsity: {basis: 'wavelet[db4,levels=2]'}")


@pytest.mark.parametrize(
    ("entry", "labels"),
    [
        (
            "threshold: {basis: [haar, {wavelet: {name: db4, levels: 2}}, 'wavelet[db4,levels=3]']}",
            ["threshold[haar]", "threshold[wavelet[db4,levels=2]]", "threshold[wavelet[db4,levels=3]]"],
        ),
        (
            "threshold: {basis: {wavelet: {name: db4, levels: [2, 3]}}}",
            ["threshold[wavelet[db4,levels=2]]", "threshold[wavelet[db4,levels=3]]"],
        ),
        (
            "oracle-best-basis: {bases: [haar, {wavelet: {name: db4, levels: [2, 3]}}]}",
            [
                "oracle-best-basis[bases=[haar,'wavelet[db4,levels=2]']]",
                "oracle-best-basis[bases=[haar,'wavelet[db4,levels=3]']]",
            ],
        ),
        (
            "oracle-best-basis: {bases: [[haar, dct], [haar, {wavelet: {name: db4, levels: 2}}]]}",
            ["oracle-best-basis[bases=[haar,dct]]", "oracle-best-basis[bases=[haar,'wavelet[db4,levels=2]']]"],
        ),
    ],
)
def test_lists_make_grids_at_any_depth(write_suite, builtin, entry, labels):
    assert [entrant.label for entrant in entrants(write_suite, builtin, f"  - {entry}")] == labels


@pytest.mark.parametrize(
    ("basis", "line", "message"),
    [
        ("{wavlet: {levels: 2}}", 1, "unknown basis 'wavlet'; did you mean 'wavelet'?"),
        ("{wavelet: {level: 2}}", 1, "basis 'wavelet': unknown parameter 'level'; did you mean 'levels'?"),
        ("{wavelet: {levels: deep}}", 1, "basis 'wavelet': levels='deep'"),
        ("{wavelet: {levels: []}}", 1, "levels: an empty list of values"),
        ("\n        wavelet:\n          name: db4\n          level: 2", 4, "unknown parameter 'level'"),
        ("\n        - haar\n        - dct:\n            level: 2", 4, "basis 'dct': unknown parameter 'level'"),
        ("\n        - haar\n        - wavlet: {}", 3, "unknown basis 'wavlet'"),
        ("{wavelet: {}, haar: {}}", 1, "basis: expected one basis in a mapping, not 2: wavelet, haar"),
        ("{}", 1, "basis: expected one basis in a mapping, not 0: none; accepted: {name: {parameter: value}}"),
        ("{wavelet: 3}", 1, "basis: wavelet: expected parameters with values, not 3"),
        ("3", 1, 'accepted: a basis, such as "haar" or "wavelet[db4,levels=3]", or {wavelet: {...}}'),
        ("[[haar]]", 1, 'accepted: a basis, such as "haar"'),
    ],
)
def test_an_error_in_a_nested_plugin_names_the_line(write_suite, builtin, basis, line, message):
    text = f"  - threshold:\n      basis: {basis}"
    first = len(write_suite().read_text(encoding="utf-8").partition(ENTRANT)[0].splitlines()) + 2
    with pytest.raises(SuiteError) as error:
        entrants(write_suite, builtin, text)
    assert message in str(error.value)
    assert f"tiny.yaml:{first + line}: " in str(error.value), error.value


@pytest.mark.parametrize("bases", ["haar", "{haar: {}}"])
def test_a_single_plugin_in_place_of_a_list_raises(write_suite, builtin, bases):
    accepted = 'list of plugins of kind basis, such as ["haar", "wavelet[db4,levels=3]", {wavelet: {...}}]'
    with pytest.raises(SuiteError) as error:
        entrants(write_suite, builtin, f"{BEST}{{bases: {bases}}}")
    assert accepted in str(error.value)


@pytest.mark.parametrize("entry", ["- threshold: {basis: wavelet[db4]}", "- threshold: {basis: [haar, wavelet[db4]]}"])
def test_errors_about_unquoted_brackets_suggest_quotes(write_suite, builtin, entry):
    with pytest.raises(SuiteError, match=r'brackets need quotes: "wavelet\[\.\.\.\]"'):
        entrants(write_suite, builtin, f"  {entry}")


def test_other_yaml_errors_do_not_suggest_quotes(write_suite, builtin):
    for entry in ("- threshold: {basis: haar", "- threshold: {basis: 'haar' [3]}", "- threshold: [haar}"):
        with pytest.raises(SuiteError) as error:
            entrants(write_suite, builtin, f"  {entry}")
        assert "quotes" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("discs: {size: 16}", "c-alpha: {construction: paper, contour: closed}", "dataset 'c-alpha': "),
        ("- identity", "- cycle-spin: {reference: optimal}", "reference 'cycle-spin': "),
        ("[psnr, slope]", "[psnr, {rate: {basis: patch-graph}}]", "metric 'rate': "),
    ],
)
def test_an_error_of_a_constructor_names_the_line(write_suite, builtin, old, new, message):
    file = write_suite((old, new))
    line = 1 + next(n for n, text in enumerate(file.read_text(encoding="utf-8").splitlines()) if new in text)
    with pytest.raises(SuiteError) as error:
        make_plan(load_suite(file, builtin))
    assert str(error.value).startswith(f"{file}:{line}: {message}"), error.value


def test_an_unknown_entrant_without_plugin_files_suggests_plugins_dir(write_suite, write_plugin, builtin):
    from gahbench.registry.registry import Registry

    file = write_suite(("- identity", "- nobody"))
    with pytest.raises(SuiteError, match=r"unknown entrant 'nobody'.*; --plugins-dir FILE_OR_FOLDER loads plugins"):
        load_suite(file, builtin)
    with pytest.raises(SuiteError) as error:
        load_suite(file, Registry((write_plugin("somebody", "return noisy"),)))
    assert "--plugins-dir" not in str(error.value)
