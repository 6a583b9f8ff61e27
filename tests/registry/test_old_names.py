"""Old names of parameters and plugins are understood, with a warning that says the name of today."""

from typing import Annotated

import pytest
from pydantic import Field

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.registry.parameters import constructor_parameters, resolve

WARNING = gahbench.GahbenchDeprecationWarning


class Plugin:
    def __init__(
        self,
        min_terms: Annotated[int, gahbench.OldName("fewest"), gahbench.OldName("least"), Field(ge=1)] = 8,
        max_samples: Annotated[int, gahbench.OldName("most"), Field(ge=2)] | None = None,
    ): ...


PARAMETERS = constructor_parameters(Plugin, "x")


@pytest.mark.parametrize(
    ("given", "resolved", "old"),
    [
        ({"fewest": 3}, {"min_terms": 3, "max_samples": None}, "x: 'fewest' is deprecated.*use 'min_terms' instead"),
        ({"least": 3}, {"min_terms": 3, "max_samples": None}, "x: 'least' is deprecated"),
        ({"most": 3}, {"min_terms": 8, "max_samples": 3}, "x: 'most' is deprecated.*use 'max_samples' instead"),
    ],
)
def test_a_parameter_is_given_by_its_old_name(given, resolved, old):
    with pytest.warns(WARNING, match=old):
        assert resolve(PARAMETERS, given, "x") == resolved


@pytest.mark.filterwarnings("ignore::gahbench.GahbenchDeprecationWarning")
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"fewest": 0}, "x: min_terms=0: input should be greater than or equal to 1 (accepted: int ≥ 1)"),
        ({"fewest": 3, "min_terms": 3}, "x: 'min_terms' is given twice, once by its old name 'fewest'"),
        ({"min_terms": 3, "fewest": 3}, "x: 'min_terms' is given twice, once by its old name 'fewest'"),
        ({"least": 3, "fewest": 3}, "x: 'min_terms' is given twice, once by its old name 'fewest'"),
        # Old names are not among those that are proposed.
        ({"fewst": 3}, "x: unknown parameter 'fewst'; accepted: min_terms, max_samples"),
    ],
)
def test_errors_use_the_name_of_today(given, says):
    with pytest.raises(ParameterError) as error:
        resolve(PARAMETERS, given, "x")
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("metric", "rate[fewest=20,most=4]", "rate[min_terms=20,max_terms=4]"),
        ("metric", "decay[fewest=4,most=3]", "decay[min_terms=4,max_terms=3]"),
        ("metric", "learned-decay[fewest=4,most=1]", "learned-decay[min_terms=4,max_terms=1]"),
        (
            "metric",
            "sample-prediction[empirical-bayes,most=12]",
            "sample-prediction[empirical-bayes,max_samples=12]",
        ),
        ("metric", "alignment[true]", "alignment[true-basis]"),
        ("metric", "sparsity[basis=true]", "sparsity[true-basis]"),
        ("basis", "true", "true-basis"),
    ],
)
def test_specs_of_earlier_suites_mean_what_they_meant(builtin, kind, old, new):
    with pytest.warns(WARNING):
        configured = builtin.configure(kind, old)
    assert configured.label == new
    assert configured.parameters == builtin.configure(kind, new).parameters
