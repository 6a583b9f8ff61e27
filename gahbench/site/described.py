"""Plugins as runs used them: their parameters in plans, their documentation, and images and cards of datasets."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gahbench._util.errors import DataError, GahbenchError, UntrustedError
from gahbench._util.readable import level_name
from gahbench.contracts.citation import Citation
from gahbench.explore.dataset_probe import BASIS_PIXELS, DatasetProbe
from gahbench.explore.preview import Preview, card_facts, make_preview
from gahbench.planning.suite_entries import configure_entrant
from gahbench.planning.units import configured_as
from gahbench.registry.configured import Configured, citations, with_nested
from gahbench.registry.plugin import Kind, Plugin
from gahbench.registry.preparation import preparation
from gahbench.registry.registry import Registry
from gahbench.registry.source import own_docstring
from gahbench.registry.spec import format_value, parse_spec
from gahbench.report.contact_sheet import format_psnr, to_picture
from gahbench.report.page.images import Strip, strip
from gahbench.site.catalogue import Run

if TYPE_CHECKING:
    from torch import Tensor

Noun = Literal["entrant", "dataset"]
_KINDS: dict[Noun, tuple[Kind, ...]] = {"entrant": ("architecture", "reference"), "dataset": ("dataset",)}
_UNDERLINE = re.compile(r"^-{3,}$", re.MULTILINE)
#: A role of reStructuredText, such as :func:`~gahbench.list_plugins`.
_ROLE = re.compile(r":[a-z:]+:`~?([^`]+)`")
#: Large images are cropped to a centre of this many pixels a side.
SIDE = 128
#: The most values of an image of a dataset that a site shows.
MAX_VALUES = 1 << 20


@dataclass(frozen=True)
class Description:
    """The parts of a docstring."""

    text: str
    parameters: dict[str, str]


def description(documented: object) -> Description:
    """Return the description of a class or function that has a numpydoc docstring."""
    lines = _ROLE.sub(r"``\1``", own_docstring(documented)).splitlines()
    heads = [place for place in range(1, len(lines)) if _UNDERLINE.match(lines[place].strip())]
    text = lines[: heads[0] - 1] if heads else lines
    found: dict[str, str] = {}
    # The heading of a section is a line above its underline.
    for head, following in itertools.pairwise([*heads, len(lines) + 1]):
        if lines[head - 1].strip() == "Parameters":
            found |= _parameters(lines[head + 1 : following - 1])
    return Description("\n".join(text).strip(), found)


def _parameters(lines: list[str]) -> dict[str, str]:
    meanings: dict[str, list[str]] = {}
    names: list[str] = []
    for line in lines:
        if line and not line.startswith(" "):
            names = [name.strip().lstrip("*") for name in line.partition(" : ")[0].split(",")]
        for name in names:
            meanings.setdefault(name, [])
            if line.startswith(" "):
                meanings[name].append(line.strip())
    return {name: " ".join(texts) for name, texts in meanings.items()}


@dataclass(frozen=True, eq=False)
class Described:
    """A plugin as runs used it."""

    configured: Configured | None
    plugin: Plugin | None
    parameters: Mapping[str, Any]
    network: Configured | None = None
    withheld: str = ""

    @property
    def text(self) -> Description:
        """The text of its docstring; empty if it cannot be imported."""
        try:
            return description(self.plugin.factory) if self.plugin else Description("", {})
        except GahbenchError:
            return Description("", {})

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Name, value and meaning of each parameter."""
        meanings = self.text.parameters
        return [(name, format_value(value), meanings.get(name, "")) for name, value in self.parameters.items()]

    @property
    def networks(self) -> list[Configured]:
        """The architecture itself, or the architectures that it trains or loads."""
        if self.configured is None:
            return [self.network] if self.network else []
        return [one for one in with_nested(self.configured) if one.kind == "architecture"]


def described(runs: Iterable[Run], noun: Noun, label: str, registry: Registry) -> Described:
    """Return a plugin as the first of some runs used it that records its parameters."""
    recorded = next((run.described[noun, label] for run in runs if (noun, label) in run.described), None)
    if recorded is None:
        return _of_label(noun, label, registry)
    name, given = str(recorded.get("name")), recorded.get("parameters")
    parameters = given if isinstance(given, Mapping) else {}
    kind = next((kind for kind in _KINDS[noun] if name in registry.names(kind)), None)
    if kind is None:
        return Described(None, None, parameters)
    plugin, withheld = registry.find(kind, name), ""
    try:
        found = configured_as(registry, kind, {"name": name, "parameters": parameters, "label": label})
        return Described(found, plugin, parameters)
    except UntrustedError as error:
        withheld = str(error)
    except (GahbenchError, TypeError, ValueError):
        pass
    inner = parameters.get("architecture") if noun == "entrant" else None
    network = _of_label("entrant", inner, registry).configured if isinstance(inner, str) else None
    if network is not None and network.kind != "architecture":
        network = None
    return Described(None, plugin, parameters, network, withheld)


def _of_label(noun: Noun, label: str, registry: Registry) -> Described:
    """Return the plugin that a label names."""
    try:
        spec = parse_spec(label)
    except GahbenchError:
        return Described(None, None, {})
    try:
        found = configure_entrant(registry, spec) if noun == "entrant" else registry.configure("dataset", spec)
        return Described(found, found.plugin, found.parameters)
    except UntrustedError as error:
        plugins = filter(None, (registry.find(kind, spec.name) for kind in _KINDS[noun]))
        return Described(None, next(plugins, None), spec.keywords, withheld=str(error))
    except GahbenchError:
        return Described(None, None, {})


def works_of(runs: Sequence[Run], label: str, found: Described) -> Iterator[Citation]:
    """Yield the references of a plugin as boards record them, or else as the installed plugin has them."""
    recorded = dict.fromkeys(work for run in runs for work in _recorded(run, label))
    if recorded or found.configured is None:
        yield from recorded
        return
    for one in with_nested(found.configured):
        try:
            yield from citations(one.plugin)
        except GahbenchError:
            continue


def _recorded(run: Run, label: str) -> Iterator[Citation]:
    """Yield the references of an entry of a board."""
    rows = run.results.citations
    entries = rows.loc[rows["entry"] == label]
    known = {(work.title, work.year): work for work in run.results.works}
    for title, year in zip(entries["title"], entries["year"], strict=True):
        yield known[str(title), int(year)]


@dataclass(frozen=True)
class Samples:
    """Images and facts of a dataset on its page.

    Parameters
    ----------
    rows
        Images side by side, each row with its name: clean, noisy, or denoised.
    facts
        The dataset's card, by name.
    trouble
        The reason why there are no images, or an empty text.
    """

    rows: tuple[tuple[tuple[str, Strip], ...], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    trouble: str = ""


def samples(plugin: Described) -> Samples:
    """Return the images and the card of a dataset; nothing is downloaded for it."""
    if plugin.withheld:
        return Samples(trouble=f"No images: {plugin.withheld}.")
    configured = plugin.configured
    if configured is None:
        return Samples(trouble="No images: this dataset could not be made where this page was.")
    try:
        needs = [preparation(one) for one in with_nested(configured)]
        if any(one.missing() for one in needs if one is not None):
            return Samples(trouble="No images: their files are not on the machine that made this page.")
        preview = _previewed(configured)
    except GahbenchError:
        # The reason may name files of one machine.
        return Samples(trouble="No images: they could not be made where this page was.")
    # The page shows the parameters elsewhere, and cannot run the commands for facts that take long to compute.
    facts = card_facts(preview)
    shown = [fact for fact in facts if fact[0] != "parameters" and not fact[1].startswith("not computed")]
    return Samples(_rows(preview), tuple(shown))


def _previewed(configured: Configured) -> Preview:
    shape = DatasetProbe(configured).shape
    if math.prod(shape) > MAX_VALUES:
        raise DataError(f"{configured.where}: images of {shape} are too large for a page")
    return make_preview(configured, count=3, max_pixels=BASIS_PIXELS)


def _rows(preview: Preview) -> tuple[tuple[tuple[str, Strip], ...], ...]:
    noisy = [(f"noisy, σ = {level_name(level.sigma)}", _strip(level.noisy)) for level in preview.levels]
    name = "optimal" if preview.optimum.kind == "exact" else "genie of the bound"
    denoised = [
        (f"{name}, σ = {level_name(level.sigma)}: {format_psnr(level.best.expected)}", _strip(level.best.denoised))
        for level in preview.levels
        if level.best is not None
    ]
    return tuple(tuple(row) for row in ([("clean", _strip(preview.clean))], noisy, denoised) if row)


def _strip(images: Tensor) -> Strip:
    shown = []
    for image in images:
        seen = to_picture(image)
        top, left = (max(0, (side - SIDE) // 2) for side in seen.shape[:2])
        shown.append(seen[top : top + SIDE, left : left + SIDE])
    return strip(np.stack(shown))
