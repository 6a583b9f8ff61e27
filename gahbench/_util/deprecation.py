"""Renaming and removal of public names with a warning first.

The policy, once a first version is released, for what ``gahbench`` and its packages ``evaluation``, ``jacobian``,
``networks``, ``sampling`` and ``testing`` export:

1. A name that is renamed or removed works for one more minor release, with a warning that names the replacement.
2. It goes in the minor release after that; the changelog has an entry for each of the two.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

Target = TypeVar("Target", bound=Callable[..., Any])


class GahbenchDeprecationWarning(FutureWarning):
    """A public name of gahbench is used that will be removed; the message says what to use instead.

    A ``FutureWarning``, since Python hides a ``DeprecationWarning`` from users of a plugin.
    """


def warn_deprecated(name: str, since: str, use_instead: str, stacklevel: int = 2) -> None:
    """Warn that a name, a parameter or a value is deprecated."""
    text = f"{name} is deprecated since gahbench {since} and will be removed; use {use_instead} instead"
    warnings.warn(text, GahbenchDeprecationWarning, stacklevel=stacklevel + 1)


def deprecated(since: str, use_instead: str) -> Callable[[Target], Target]:
    """Mark a function or a class as deprecated, by a warning on calls and a line in its docstring."""

    def mark(target: Target) -> Target:
        called = target.__init__ if inspect.isclass(target) else target

        @functools.wraps(called)
        def warning(*arguments: Any, **keywords: Any) -> Any:
            warn_deprecated(target.__name__, since, use_instead)
            return called(*arguments, **keywords)

        first, _, rest = (inspect.getdoc(target) or "Deprecated.").partition("\n\n")
        note = f".. deprecated:: {since}\n    Use {use_instead} instead."
        marked: Any = warning
        if inspect.isclass(target):
            target.__init__ = warning  # type: ignore[method-assign]
            marked = target
        marked.__doc__ = "\n\n".join(part for part in (first, note, rest) if part)
        return marked  # type: ignore[no-any-return]

    return mark
