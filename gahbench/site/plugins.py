"""The plugins of runs: their recorded parameters, documentation, references, and images of datasets."""

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
from gahbench.planning.units import configure_recorded
from gahbench.registry.configured import Configured, citations, iterate_nested, preparation
from gahbench.registry.plugin import Kind, Plugin, own_docstring
from gahbench.registry.registry import Registry
from gahbench.registry.spec import format_value, parse_spec
from gahbench.report.contact_sheet import format_psnr, to_picture
from gahbench.report.page.images import Picture, make_strip
from gahbench.site.catalogue import Run

if TYPE_CHECKING:
    from torch import Tensor

EntryKind = Literal["entrant", "dataset"]
_PLUGIN_KINDS: dict[EntryKind, tuple[Kind, ...]] = {"entrant": ("architecture", "reference"), "dataset": ("dataset",)}
_UNDERLINE = re.compile(r"^-{3,}$", re.MULTILINE)
#: A role of reStructuredText, such as :func:`~gahbench.list_plugins`.
_ROLE = re.compile(r":[a-z:]+:`~?([^`]+)`")
#: The side in pixels to which large images are cropped.
MAX_SIDE = 128
#: The largest image, in values, of a dataset whose images a site shows.
MAX_VALUES = 1 << 20


@dataclass(frozen=True)
class Docstring:
    """The description and the meanings of parameters in a docstring."""

    text: str
    parameters: dict[str, str]


def parse_docstring(documented: object) -> Docstring:
    """Parse the numpydoc docstring of a class or function."""
    lines = _ROLE.sub(r"``\1``", own_docstring(documented)).splitlines()
    heads = [index for index in range(1, len(lines)) if _UNDERLINE.match(lines[index].strip())]
    description = lines[: heads[0] - 1] if heads else lines
    parameters: dict[str, str] = {}
    # The heading of a section is the line above its underline.
    for head, following in itertools.pairwise([*heads, len(lines) + 1]):
        if lines[head - 1].strip() == "Parameters":
            parameters |= _parameter_meanings(lines[head + 1 : following - 1])
    return Docstring("\n".join(description).strip(), parameters)


def _parameter_meanings(lines: list[str]) -> dict[str, str]:
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
class UsedPlugin:
    """A plugin with the parameters that runs used."""

    configured: Configured | None
    plugin: Plugin | None
    parameters: Mapping[str, Any]
    network: Configured | None = None
    refusal: str = ""

    @property
    def docstring(self) -> Docstring:
        """The docstring of the plugin; empty if it cannot be imported."""
        try:
            return parse_docstring(self.plugin.factory) if self.plugin else Docstring("", {})
        except GahbenchError:
            return Docstring("", {})

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """The name, value and meaning of each parameter."""
        meanings = self.docstring.parameters
        return [(name, format_value(value), meanings.get(name, "")) for name, value in self.parameters.items()]

    @property
    def networks(self) -> list[Configured]:
        """The plugin itself if it is an architecture, and the architectures that it trains or loads."""
        if self.configured is None:
            return [self.network] if self.network else []
        return [plugin for plugin in iterate_nested(self.configured) if plugin.kind == "architecture"]


def used_plugin(runs: Iterable[Run], entry_kind: EntryKind, label: str, registry: Registry) -> UsedPlugin:
    """Return the plugin of an entry, with parameters from the first run that records them, or else from its label."""
    recorded = next(
        (run.recorded_plugins[entry_kind, label] for run in runs if (entry_kind, label) in run.recorded_plugins), None
    )
    if recorded is None:
        return _plugin_of_label(entry_kind, label, registry)
    name, recorded_parameters = str(recorded.get("name")), recorded.get("parameters")
    parameters = recorded_parameters if isinstance(recorded_parameters, Mapping) else {}
    kind = next((kind for kind in _PLUGIN_KINDS[entry_kind] if name in registry.names(kind)), None)
    if kind is None:
        return UsedPlugin(None, None, parameters)
    plugin, refusal = registry.find(kind, name), ""
    try:
        configured = configure_recorded(registry, kind, {"name": name, "parameters": parameters, "label": label})
        return UsedPlugin(configured, plugin, parameters)
    except UntrustedError as error:
        refusal = str(error)
    except (GahbenchError, TypeError, ValueError):
        pass
    architecture = parameters.get("architecture") if entry_kind == "entrant" else None
    network = _plugin_of_label("entrant", architecture, registry).configured if isinstance(architecture, str) else None
    if network is not None and network.kind != "architecture":
        network = None
    return UsedPlugin(None, plugin, parameters, network, refusal)


def _plugin_of_label(entry_kind: EntryKind, label: str, registry: Registry) -> UsedPlugin:
    """Return the plugin that a label names."""
    try:
        spec = parse_spec(label)
    except GahbenchError:
        return UsedPlugin(None, None, {})
    try:
        configured = (
            configure_entrant(registry, spec) if entry_kind == "entrant" else registry.configure("dataset", spec)
        )
        return UsedPlugin(configured, configured.plugin, configured.parameters)
    except UntrustedError as error:
        plugins = filter(None, (registry.find(kind, spec.name) for kind in _PLUGIN_KINDS[entry_kind]))
        return UsedPlugin(None, next(plugins, None), spec.keywords, refusal=str(error))
    except GahbenchError:
        return UsedPlugin(None, None, {})


def references_of(runs: Sequence[Run], label: str, used: UsedPlugin) -> Iterator[Citation]:
    """Yield the references of a plugin that boards record, or else the references of the installed plugin."""
    recorded = dict.fromkeys(work for run in runs for work in _recorded_references(run, label))
    if recorded or used.configured is None:
        yield from recorded
        return
    for configured in iterate_nested(used.configured):
        try:
            yield from citations(configured.plugin)
        except GahbenchError:
            continue


def _recorded_references(run: Run, label: str) -> Iterator[Citation]:
    """Yield the references that a run records for an entry."""
    rows = run.results.citations
    entries = rows.loc[rows["entry"] == label]
    known = {(work.title, work.year): work for work in run.results.works}
    for title, year in zip(entries["title"], entries["year"], strict=True):
        yield known[str(title), int(year)]


@dataclass(frozen=True)
class DatasetSamples:
    """The images and facts on the page of a dataset.

    Parameters
    ----------
    rows
        Rows of strips: clean, noisy, and denoised.
    facts
        Pairs of the name and the value of a fact.
    problem
        The reason why there are no images; empty if there are images.
    """

    rows: tuple[tuple[Picture, ...], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    problem: str = ""


def dataset_samples(plugin: UsedPlugin) -> DatasetSamples:
    """Return the images and facts of a dataset, without downloads."""
    if plugin.refusal:
        return DatasetSamples(problem=f"No images: {plugin.refusal}.")
    configured = plugin.configured
    if configured is None:
        return DatasetSamples(problem="No images: this dataset could not be built on the machine that built this page.")
    try:
        preparations = [preparation(nested) for nested in iterate_nested(configured)]
        if any(nested.missing() for nested in preparations if nested is not None):
            return DatasetSamples(problem="No images: their files were not on the machine that built this page.")
        preview = _make_preview(configured)
    except GahbenchError:
        # The message may name files of this machine.
        return DatasetSamples(problem="No images: they could not be generated on the machine that built this page.")
    # The page shows parameters elsewhere, and slow facts are not computed.
    facts = card_facts(preview)
    shown_facts = [fact for fact in facts if fact[0] != "parameters" and not fact[1].startswith("not computed")]
    return DatasetSamples(_image_rows(preview), tuple(shown_facts))


def _make_preview(configured: Configured) -> Preview:
    shape = DatasetProbe(configured).shape
    if math.prod(shape) > MAX_VALUES:
        raise DataError(f"{configured.where}: images of {shape} are too large for a page")
    return make_preview(configured, count=3, max_pixels=BASIS_PIXELS)


def _image_rows(preview: Preview) -> tuple[tuple[Picture, ...], ...]:
    noisy = [_cropped_strip(level.noisy, f"noisy, σ = {level_name(level.sigma)}") for level in preview.levels]
    name = "optimal" if preview.optimum.kind == "exact" else "genie of the bound"
    denoised = [
        _cropped_strip(
            level.best.denoised, f"{name}, σ = {level_name(level.sigma)}: {format_psnr(level.best.expected)}"
        )
        for level in preview.levels
        if level.best is not None
    ]
    return tuple(tuple(row) for row in ([_cropped_strip(preview.clean, "clean")], noisy, denoised) if row)


def _cropped_strip(images: Tensor, caption: str) -> Picture:
    crops = []
    for image in images:
        pixels = to_picture(image)
        top, left = (max(0, (side - MAX_SIDE) // 2) for side in pixels.shape[:2])
        crops.append(pixels[top : top + MAX_SIDE, left : left + MAX_SIDE])
    return make_strip(np.stack(crops), caption)
