"""Hostile specs of plugins of all kinds, as text, or as names with values as in payloads of units."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from gahbench._util.records import canonical
from gahbench.planning.suite_entries import configure_entrant
from gahbench.registry.configured import KINDS, Kind, Plugin
from gahbench.registry.registry import open_registry
from gahbench.registry.spec import Spec, format_value, parse_spec

from .harness import Campaign, accept_errors
from .hostile import fragments, mutated, scalars, texts, values

#: A kind and a spec: either text, or the name, the positional values and the named values.
Case = tuple[Kind, str | tuple[str, list[Any], dict[str, Any]]]


def registry() -> Any:
    """Return the registry of installed plugins, which is cached."""
    return open_registry()


def load_everything() -> None:
    """Import every plugin once, before processes are forked."""
    for kind in KINDS:
        for plugin in registry().plugins(kind):
            _ = plugin.parameters, plugin.digest


def attempt(case: Case, scratch: Path) -> None:
    """Configure a plugin; an accepted plugin must have a key, and its text must give the same parameters."""
    kind, content = case
    with accept_errors():
        spec = parse_spec(content) if isinstance(content, str) else Spec(*content)
        configured = registry().configure(kind, spec)
        if kind in ("architecture", "reference"):
            configured = configure_entrant(registry(), spec)
        again = registry().configure(configured.kind, configured.text)
        assert (again.text, again.parameters) == (configured.text, configured.parameters)
        assert configured.label.isprintable(), configured.label
        json.loads(canonical(configured.identity))


@st.composite
def likely(draw: st.DrawFn, kind: Kind, depth: int = 3) -> tuple[str, dict[str, Any]]:
    """Draw the name of a plugin with some of its parameters, most of them with plausible values."""
    plugin: Plugin = registry().get(kind, draw(st.sampled_from(registry().names(kind))))
    parameters = {}
    for parameter in plugin.parameters:
        if draw(st.integers(0, 2)) and not parameter.required:
            continue
        choices = [scalars, values, st.lists(scalars, max_size=3)]
        if not parameter.required:
            choices += 2 * [st.just(parameter.default)]
        if parameter.names is not None and depth:
            inner = likely(parameter.names, depth - 1)
            choices += 6 * [inner.map(lambda pair: _format_spec(*pair))]
        parameters[parameter.name] = draw(st.one_of(choices))
    return plugin.name, parameters


def _format_spec(name: str, given: dict[str, Any]) -> str:
    """Return a spec as text; names of parameters must be plain."""
    return f"{name}[{','.join(f'{key}={format_value(value)}' for key, value in given.items())}]"


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a kind of plugin and a spec."""
    kind = draw(st.sampled_from(KINDS))
    name, given = draw(likely(kind))
    form = draw(st.sampled_from(("text", "text", "mutated", "mutated", "values", "deep", "any")))
    if form == "text":
        return kind, _format_spec(name, given)
    if form == "mutated":
        return kind, draw(mutated(_format_spec(name, given)))
    if form == "deep":
        times = draw(st.sampled_from((2, 5, 39, 41, 300, 3000)))
        opened = draw(st.sampled_from((f"{name}[", "[", "{a: ", "x['", 'x["', "oracle-threshold[basis=")))
        closed = draw(st.sampled_from(("]", "}", "']", '"]', "")))
        return kind, f"{name}[" + opened * times + draw(fragments) + closed * times + "]"
    if form == "any":
        return kind, draw(texts)
    positional = draw(st.lists(values, max_size=3))
    others = draw(st.dictionaries(texts, values, max_size=2))
    return kind, (draw(st.just(name) | texts), positional, {**given, **others} if draw(st.booleans()) else given)


CAMPAIGN = Campaign(cases(), attempt, prepare=load_everything)
