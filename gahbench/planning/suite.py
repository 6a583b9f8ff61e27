"""A suite: a YAML file that names datasets, entrants, how to train and how to score."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gahbench._util.errors import GahbenchError, ParameterError, PluginError, SuiteError, listing, suggestion
from gahbench.contracts.datasets import Split
from gahbench.contracts.limits import Limits
from gahbench.planning.grids import MAX_CONFIGURATIONS, Grid, too_many
from gahbench.planning.suite_files import find_suite
from gahbench.planning.yaml_lines import Document, Location
from gahbench.registry.configured import Configured
from gahbench.registry.plugin import Kind
from gahbench.registry.registry import Registry
from gahbench.registry.spec import Spec, parse_spec
from gahbench.sampling.settings import Sampling
from gahbench.training.recipe import Training

_FROZEN = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
#: Characters of a suite's name, which is that of a folder.
MAX_NAME = 100

#: A list with at least one value.
_SOME = Field(min_length=1, strict=False)

#: The reference that an architecture with a ``checkpoint`` is short for.
PRETRAINED = "pretrained"

Entry = str | dict[str, dict[str, Any] | None]


def _name(entry: Entry) -> str:
    """Return the name of the plugin in an entry that may still be wrong."""
    return entry.partition("[")[0].strip() if isinstance(entry, str) else next(iter(entry), "")


def _ranks(metrics: tuple[Entry, ...]) -> tuple[Entry, ...]:
    if "psnr" not in map(_name, metrics):
        raise ValueError("must have psnr, which the board ranks by")
    return metrics


def _has_test(splits: tuple[Split, ...]) -> tuple[Split, ...]:
    if "test" not in splits:
        raise ValueError(f"must have test, which the board shows and ranks by; accepted: {['test', *splits]}")
    return splits


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(map(repr, values))) < len(values):
        raise ValueError("repeats a value")
    return values


class Scoring(BaseModel):
    """The scoring of entrants.

    Parameters
    ----------
    sigmas
        Noise levels, in units where images lie in [0, 1].
    images
        Images of each split that are scored.
    splits
        ``test``, which the board ranks by, and others for comparison.
    metrics
        Metrics, by name and parameters.
    noise_seed
        Seed of the noise, which is the same for every entrant.
    sampling
        How images are sampled, for metrics of samples.
    jacobian_precision
        ``auto``: Jacobians of networks of rectifiers are from products in bfloat16, where the hardware has it and they
        are accurate to 1 %, and to 5 % of what filters do beyond their strength; ``float32``: never.
    """

    model_config = _FROZEN

    sigmas: Annotated[tuple[Annotated[float, Field(gt=0, le=100)], ...], _SOME, AfterValidator(_distinct)]
    images: Annotated[int, Field(ge=1)] = 100
    splits: Annotated[tuple[Split, ...], _SOME, AfterValidator(_distinct), AfterValidator(_has_test)] = ("test",)
    metrics: Annotated[tuple[Entry, ...], _SOME, AfterValidator(_distinct), AfterValidator(_ranks)] = ("psnr",)
    noise_seed: int = 0
    sampling: Annotated[Sampling, Field(default_factory=Sampling)]
    jacobian_precision: Literal["auto", "float32"] = "auto"


class SuiteFile(BaseModel):
    """The fields of a suite file.

    Parameters
    ----------
    name
        Name of the suite.
    description
        A sentence or two, for ``gahbench list``.
    datasets, entrants
        Plugins, each ``name``, ``name[key=value]`` or ``name: {key: value}``; a list of values is a grid. So are the
        plugins that a parameter names.
    baseline
        The entrant that others' gains are measured from.
    training
        The training of architectures.
    scoring
        The scoring of entrants.
    seeds
        One fit for each; names initialisation, order of images and training noise.
    limits
        Seconds that units may take.
    """

    model_config = _FROZEN

    name: Annotated[str, Field(pattern=_NAME, max_length=MAX_NAME)]
    description: str = ""
    datasets: Annotated[tuple[Entry, ...], _SOME]
    entrants: Annotated[tuple[Entry, ...], _SOME]
    baseline: str | None = None
    training: Annotated[Training, Field(default_factory=lambda: Training.model_validate({}))]
    scoring: Scoring
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], _SOME, AfterValidator(_distinct)] = (0,)
    limits: Annotated[Limits, Field(default_factory=Limits)]


@dataclass(frozen=True)
class Suite:
    """A suite with every plugin and parameter resolved.

    ``added`` labels entrants that are not in its file; ``lines`` has the lines of plugins in it, by their ``where``.
    """

    name: str
    description: str
    datasets: tuple[Configured, ...]
    entrants: tuple[Configured, ...]
    metrics: tuple[Configured, ...]
    baseline: str | None
    training: Training
    scoring: Scoring
    seeds: tuple[int, ...]
    path: Path
    added: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    lines: dict[str, int] = field(default_factory=dict)

    def build(self, configured: Configured) -> Any:
        """Build one of its plugins.

        Raises
        ------
        SuiteError
            If the constructor refuses the parameters; names file and line.
        """
        try:
            return configured.build()
        except ParameterError as error:
            line = self.lines.get(configured.where)
            raise SuiteError(f"{self.path}{'' if line is None else f':{line}'}: {error}") from error


def load_suite(name: str | Path, registry: Registry, extra_entrants: tuple[str, ...] = ()) -> Suite:
    """Read, validate and resolve a suite.

    Parameters
    ----------
    name
        Path of the file, or the name of a suite that gahbench ships.
    registry
        Where its plugins are looked up.
    extra_entrants
        Further entrants, each ``name[key=value]``.

    Raises
    ------
    SuiteError
        Naming the file, the line, and what is accepted.
    GahbenchError
        For an extra entrant that is not accepted.
    """
    document = Document(find_suite(name))
    if not isinstance(document.content, dict):
        raise document.error((), "a suite is a mapping with the fields " + ", ".join(SuiteFile.model_fields))
    try:
        parsed = SuiteFile.model_validate(document.content)
    except pydantic.ValidationError as error:
        raise document.validation_error(error, _accepted) from error
    lines: dict[str, int] = {}
    own = _unique(_expand_all(document, ("entrants",), parsed.entrants, registry, lines))
    entrants = _unique([*own, *(configure_entrant(registry, parse_spec(text)) for text in extra_entrants)])
    baseline = parsed.baseline
    if baseline is not None:
        try:
            baseline = configure_entrant(registry, parse_spec(baseline)).label
        except GahbenchError as error:
            raise document.error(("baseline",), str(error)) from error
        labels = [entrant.label for entrant in entrants]
        if baseline not in labels:
            raise document.error(
                ("baseline",), f"the baseline '{baseline}' is not among the entrants: {listing(labels)}"
            )
    return Suite(
        name=parsed.name,
        description=" ".join(parsed.description.split()),
        datasets=_unique(_expand_all(document, ("datasets",), parsed.datasets, registry, lines)),
        entrants=entrants,
        metrics=_unique(_expand_all(document, ("scoring", "metrics"), parsed.scoring.metrics, registry, lines)),
        baseline=baseline,
        training=parsed.training,
        scoring=parsed.scoring,
        seeds=parsed.seeds,
        path=document.path,
        added=tuple(entrant.label for entrant in entrants if entrant not in own),
        limits=parsed.limits,
        lines=lines,
    )


def configure_entrant(registry: Registry, spec: Spec) -> Configured:
    """Resolve an entrant: an architecture, a reference, or an architecture with trained weights from a ``checkpoint``.

    The last is short for the reference ``pretrained``: ``unet[width=16,checkpoint=w.pt,keys=same]`` is
    ``pretrained[unet[width=16],checkpoint=w.pt,keys=same]``, and both have the short form as their label.

    Raises
    ------
    PluginError, ParameterError
        If neither has that name (both lists are given), both do, or a parameter is not accepted.
    """
    known = {kind: registry.names(kind) for kind in _kinds("entrants")}
    found = [kind for kind, names in known.items() if spec.name in names]
    if not found:
        names = [name for group in known.values() for name in group]
        lists = "; ".join(f"{kind}s: {listing(group)}" for kind, group in known.items())
        raise PluginError(
            f"unknown entrant '{spec.name}'{suggestion(spec.name, names) or ';'} {lists}{registry.missing}"
        )
    if len(found) > 1:
        raise PluginError(f"'{spec.name}' is both an architecture and a reference; rename one of the plugins")
    if found[0] == "architecture" and "checkpoint" in spec.keywords:
        own = {parameter.name for parameter in registry.get("architecture", spec.name).parameters}
        if "checkpoint" not in own:
            return _labelled(registry.configure("reference", _pretrained(registry, spec, own)))
    configured = registry.configure(found[0], spec)
    return _labelled(configured) if configured.plugin.name == PRETRAINED else configured


def _pretrained(registry: Registry, spec: Spec, own: set[str]) -> Spec:
    """Share out the parameters of an architecture with a checkpoint; those of the architecture come first."""
    shared = {parameter.name for parameter in registry.get("reference", PRETRAINED).parameters} - own
    theirs = {name: value for name, value in spec.keywords.items() if name not in shared}
    network = registry.configure("architecture", Spec(spec.name, spec.positional, theirs))
    rest = {name: value for name, value in spec.keywords.items() if name in shared}
    return Spec(PRETRAINED, (), {"architecture": network.text, **rest})


def _labelled(configured: Configured) -> Configured:
    """Label an architecture with a checkpoint by its short form."""
    inner = configured.nested["architecture"]
    assert isinstance(inner, Configured)
    rest = configured.label.removeprefix(f"{PRETRAINED}[{inner.label},")
    head = f"{inner.label[:-1]}," if inner.label.endswith("]") else f"{inner.label}["
    return replace(configured, label=head + rest)


def _kinds(field: str) -> tuple[Kind, ...]:
    kinds: dict[str, tuple[Kind, ...]] = {
        "datasets": ("dataset",),
        "entrants": ("architecture", "reference"),
        "metrics": ("metric",),
    }
    return kinds[field]


def _expand_all(
    document: Document, location: Location, entries: tuple[Entry, ...], registry: Registry, lines: dict[str, int]
) -> list[Configured]:
    """Resolve all entries of a field, and note the line of each."""
    found = []
    for place, entry in enumerate(entries):
        expanded = _expand(document, (*location, place), entry, registry, str(location[-1]))
        found += expanded
        if len(found) > MAX_CONFIGURATIONS:
            raise too_many(document, (*location, place), len(found))
        for configured in expanded:
            lines.setdefault(configured.where, document.line((*location, place)))
    return found


def _expand(document: Document, location: Location, entry: Entry, registry: Registry, field: str) -> list[Configured]:
    """Resolve one entry, whose lists of values make a grid."""

    def configure(spec: Spec) -> Configured:
        if field == "entrants":
            return configure_entrant(registry, spec)
        return registry.configure(_kinds(field)[0], spec)

    if isinstance(entry, str):
        try:
            return [configure(parse_spec(entry))]
        except GahbenchError as error:
            raise document.error(location, str(error)) from error
    if len(entry) != 1:
        raise document.error(location, f"expected one plugin in an entry, not {len(entry)}: {listing(entry)}")
    ((name, given),) = entry.items()
    grid, inside, given = Grid(document, registry), (*location, name), given or {}
    try:
        plugin = next(filter(None, (registry.find(kind, name) for kind in _kinds(field))), None)
        specs = list(grid.specs(inside, name, given, plugin))
    except SuiteError:
        raise
    except GahbenchError as error:
        raise document.error(location, str(error)) from error
    found = []
    for spec in specs:
        try:
            found.append(configure(spec))
        except GahbenchError as error:
            raise grid.error(inside, given, error) from error
    return found


def _unique(found: list[Configured]) -> tuple[Configured, ...]:
    """Drop repeats: equal labels are equal configurations, but for files of one name in different folders."""
    by_label: dict[str, Configured] = {}
    for configured in found:
        known = by_label.setdefault(configured.label, configured)
        if known.parameters != configured.parameters:
            raise ParameterError(
                f"{configured.where}: two files have this name, {known.parameters} and {configured.parameters}; rename "
                "or link one"
            )
    return tuple(by_label.values())


def _accepted(location: Location) -> list[str]:
    """Return the accepted fields at a location of a suite file."""
    models: dict[str, type[BaseModel]] = {"training": Training, "scoring": Scoring, "limits": Limits}
    if tuple(location[:2]) == ("scoring", "sampling"):
        return list(Sampling.model_fields)
    model = models.get(str(location[0]) if location else "", SuiteFile)
    return list(model.model_fields)
