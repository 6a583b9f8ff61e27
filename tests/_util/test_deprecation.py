import inspect
import warnings

import pytest

import gahbench
from gahbench._util.deprecation import GahbenchDeprecationWarning, deprecated, warn_deprecated


@deprecated(since="0.2", use_instead="new_function")
def old_function(number: int, *, scale: int = 1) -> int:
    """Return a number times a scale.

    More about it.
    """
    return number * scale


class Plain:
    def __init__(self, width: int = 3) -> None:
        self.width = width


@deprecated(since="0.3", use_instead="Plain")
class Old(Plain):
    """Something old."""


def caught(call):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = call()
    return result, found


def test_a_deprecated_function_works_and_warns_at_the_line_that_calls_it():
    result, (warning,) = caught(lambda: old_function(2, scale=5))
    assert result == 10
    assert warning.category is GahbenchDeprecationWarning
    assert warning.filename == __file__
    for part in ("old_function", "0.2", "use new_function instead"):
        assert part in str(warning.message)


def test_a_deprecated_class_stays_a_class_and_warns_when_it_is_built():
    built, (warning,) = caught(lambda: Old(width=7))
    assert isinstance(built, Old)
    assert isinstance(built, Plain)
    assert built.width == 7
    assert warning.filename == __file__
    assert "Old is deprecated since gahbench 0.3" in str(warning.message)
    # The class that it replaces does not warn.
    assert caught(Plain)[1] == []


def test_signature_and_docstring_are_kept_and_the_docstring_says_what_to_use():
    assert list(inspect.signature(old_function).parameters) == ["number", "scale"]
    lines = inspect.getdoc(old_function).splitlines()
    assert lines[0] == "Return a number times a scale."
    assert ".. deprecated:: 0.2" in lines
    assert "    Use new_function instead." in lines
    assert lines[-1] == "More about it."
    assert ".. deprecated:: 0.3" in inspect.getdoc(Old)


def test_it_is_shown_by_default_and_can_be_filtered():
    assert issubclass(GahbenchDeprecationWarning, FutureWarning)
    assert gahbench.GahbenchDeprecationWarning is GahbenchDeprecationWarning
    with pytest.warns(GahbenchDeprecationWarning, match="the parameter 'trial' is deprecated"):
        warn_deprecated("the parameter 'trial'", since="0.2", use_instead="'dry_run'")
