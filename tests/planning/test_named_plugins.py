"""A parameter that names a plugin takes a text or a mapping, at any depth, and lists of both; errors name the line."""

import pytest

from gahbench._util.errors import SuiteError
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite

ENTRANT = "  - oracle-threshold: {basis: haar}"
BEST = "  - oracle-best-basis: "


def entrants(write_suite, builtin, text):
    """Return the entrants of the tiny suite after its first ones, which are given as one YAML entry."""
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
    (given,) = entrants(write_suite, builtin, f"  - {mapping}")
    (expected,) = entrants(write_suite, builtin, f"  - {text}")
    assert given.label == expected.label
    assert given.parameters == expected.parameters
    assert given.identity == expected.identity


def test_datasets_and_metrics_are_named_by_mappings_too(write_suite, builtin):
    def keys(dataset, metric):
        changes = (("discs: {size: 16}", dataset), ("[psnr, slope]", f"[psnr, {metric}]"))
        return [unit.key for unit in make_plan(load_suite(write_suite(*changes), builtin), builtin).units]

    mappings = keys("rays: {image: {discs: {size: 8}}}", "sparsity: {basis: {wavelet: {name: db4, levels: 2}}}")
    assert mappings == keys("rays: {image: 'discs[size=8]'}", "sparsity: {basis: 'wavelet[db4,levels=2]'}")


@pytest.mark.parametrize(
    ("given", "labels"),
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
def test_lists_make_grids_at_any_depth(write_suite, builtin, given, labels):
    assert [entrant.label for entrant in entrants(write_suite, builtin, f"  - {given}")] == labels


@pytest.mark.parametrize(
    ("basis", "line", "says"),
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
def test_an_error_inside_names_the_line(write_suite, builtin, basis, line, says):
    text = f"  - threshold:\n      basis: {basis}"
    first = len(write_suite().read_text(encoding="utf-8").partition(ENTRANT)[0].splitlines()) + 2
    with pytest.raises(SuiteError) as error:
        entrants(write_suite, builtin, text)
    assert says in str(error.value)
    assert f"tiny.yaml:{first + line}: " in str(error.value), error.value


@pytest.mark.parametrize("given", ["haar", "{haar: {}}"])
def test_a_list_that_is_missing_is_asked_for(write_suite, builtin, given):
    accepted = 'list of plugins of kind basis, such as ["haar", "wavelet[db4,levels=3]", {wavelet: {...}}]'
    with pytest.raises(SuiteError) as error:
        entrants(write_suite, builtin, f"{BEST}{{bases: {given}}}")
    assert accepted in str(error.value)


@pytest.mark.parametrize("entry", ["- threshold: {basis: wavelet[db4]}", "- threshold: {basis: [haar, wavelet[db4]]}"])
def test_brackets_without_quotes_are_explained(write_suite, builtin, entry):
    with pytest.raises(SuiteError, match=r'brackets need quotes: "wavelet\[\.\.\.\]"'):
        entrants(write_suite, builtin, f"  {entry}")


def test_other_faults_of_yaml_are_not_taken_for_missing_quotes(write_suite, builtin):
    for entry in ("- threshold: {basis: haar", "- threshold: {basis: 'haar' [3]}", "- threshold: [haar}"):
        with pytest.raises(SuiteError) as error:
            entrants(write_suite, builtin, f"  {entry}")
        assert "quotes" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("discs: {size: 16}", "c-alpha: {construction: paper, contour: closed}", "dataset 'c-alpha': "),
        ("- identity", "- cycle-spin: {reference: optimal}", "reference 'cycle-spin': "),
        ("[psnr, slope]", "[psnr, {rate: {basis: patch-graph}}]", "metric 'rate': "),
    ],
)
def test_a_constructor_that_refuses_names_the_line(write_suite, builtin, old, new, says):
    file = write_suite((old, new))
    line = 1 + next(n for n, text in enumerate(file.read_text(encoding="utf-8").splitlines()) if new in text)
    with pytest.raises(SuiteError) as error:
        make_plan(load_suite(file, builtin), builtin)
    assert str(error.value).startswith(f"{file}:{line}: {says}"), error.value


def test_who_is_unknown_may_be_in_a_file_that_was_not_given(write_suite, write_plugin, builtin):
    from gahbench.registry.registry import Registry

    file = write_suite(("- identity", "- nobody"))
    with pytest.raises(SuiteError, match=r"unknown entrant 'nobody'.*; a plugin in a file of yours .* --plugins-dir"):
        load_suite(file, builtin)
    with pytest.raises(SuiteError) as error:
        load_suite(file, Registry((write_plugin("somebody", "return noisy"),)))
    assert "--plugins-dir" not in str(error.value)
