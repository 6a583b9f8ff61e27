"""Facts about a plugin that ``gahbench describe`` measures within seconds.

Any plugin may fail: facts that cannot be measured are reported as unknown, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from gahbench._util.errors import GahbenchError, listing
from gahbench._util.readable import format_number
from gahbench._util.shapes import Shape
from gahbench.contracts.claims import Claim
from gahbench.contracts.datasets import SPLITS, Dataset
from gahbench.contracts.metrics import Metric
from gahbench.contracts.references import Reference
from gahbench.networks.initialisation import build_network
from gahbench.networks.network_facts import (
    homogeneity,
    homogeneity_residual,
    is_blind,
    one_line,
    random_images,
    torch_func_obstacle,
    with_random_weights,
)
from gahbench.networks.receptive_field import receptive_field
from gahbench.registry.configured import Configured, citations
from gahbench.registry.registry import Registry
from gahbench.training.hardware import multiply_adds

#: Default shape of images for which multiply-adds are counted.
SHAPE: Shape = (1, 64, 64)
#: Side of images for all facts but the receptive field, and sides to try if a network refuses the requested shape.
SMALL_SIDE, OTHER_SIDES = 32, (32, 80, 96, 128, 224, 256)
#: Maximum size of a network that is built, to limit memory.
MAX_PARAMETERS = 200_000_000

_KINDS = {
    "trained": "trained: it uses what it was trained on",
    "classical": "classical: it uses neither the clean image nor the dataset",
    "optimal": "optimal: it uses the dataset",
    "oracle": "oracle: it uses the clean image",
    "bound": "bound: a limit that no denoiser can beat",
}
_DIRECTIONS = {True: "higher is better", False: "lower is better", None: "neither higher nor lower is better"}
_BLIND = {True: "yes: the result does not depend on sigma", False: "no: the result depends on sigma"}
#: Names of facts that say why all facts about a plugin are unknown, where they differ from its kind.
_UNKNOWN = {"architecture": "network", "claim": "claims", "dataset": "images"}
#: The name of a fact, and its value or a function that measures it.
_Measure = tuple[str, str | Callable[[], str]]


@dataclass(frozen=True)
class Fact:
    """A measured fact about a plugin, or the reason why it is unknown."""

    name: str
    value: str


def facts(configured: Configured, registry: Registry, shape: Shape | None = None) -> Iterator[Fact]:
    """Yield the facts about a plugin, according to its kind."""
    try:
        for name, measure in _measures(configured, registry, shape or SHAPE):
            yield Fact(name, measure if isinstance(measure, str) else _value_or_reason(measure))
    except (Exception, SystemExit) as error:
        yield Fact(_UNKNOWN.get(configured.kind, configured.kind), f"unknown: {one_line(error)}")
    yield Fact("citation", _value_or_reason(lambda: "; ".join(map(str, citations(configured.plugin))) or "none"))


def _value_or_reason(measure: Callable[[], str]) -> str:
    try:
        return measure()
    except (Exception, SystemExit) as error:
        return f"unknown: {one_line(error)}"


def _measures(configured: Configured, registry: Registry, shape: Shape) -> Iterable[_Measure]:
    if configured.kind == "architecture":
        return _architecture(configured, shape)
    if configured.kind == "reference":
        return _reference(configured, registry, shape)
    if configured.kind == "metric":
        return _metric(configured.build())
    if configured.kind == "claim":
        return _claims(configured.build())
    return _dataset(configured.build()) if configured.kind == "dataset" else ()


def _dataset(dataset: Dataset) -> Iterator[_Measure]:
    """Yield the number of images and notes, without slow preparation of data."""
    if missing := dataset.missing():
        yield "images", f"missing: {listing(missing)}; `gahbench prepare` with a suite downloads them"
        return
    counts = {split: dataset.available(split) for split in SPLITS}
    sizes = listing(f"{split} {'endless' if count is None else count}" for split, count in counts.items())
    yield "images", f"{sizes}; of {_format_shape(dataset.shape)}"
    yield from (("note", note) for note in dataset.notes)


def _claims(claims: list[Claim]) -> Iterator[_Measure]:
    yield "paper", str(claims[0].paper)
    for claim in claims:
        yield claim.id, f"{claim.statement} {claim.source}; region {claim.region}"


def _metric(metric: Metric) -> Iterator[_Measure]:
    yield "unit", metric.unit or "none"
    yield "direction", _DIRECTIONS[metric.higher_is_better]
    images = f"{metric.min_images} images or more" if metric.min_images > 1 else "images"
    yield "needs", ", ".join([images, *sorted(metric.needs)])


def _reference(configured: Configured, registry: Registry, shape: Shape) -> Iterator[_Measure]:
    reference: Reference = configured.build()
    yield "kind", lambda: _KINDS.get(reference.kind, str(reference.kind))
    learns = type(reference).fit is not Reference.fit
    yield "learns", "from training and validation images, if at all" if learns else "nothing"
    yield "defined on", lambda: _defined_on(reference, registry)
    for inner in configured.nested.values():
        if isinstance(inner, Configured) and inner.kind == "architecture":
            yield "network", inner.label
            yield from _architecture(inner, shape)
            yield "citation of the network", "; ".join(map(str, citations(inner.plugin))) or "none"


def _defined_on(reference: Reference, registry: Registry) -> str:
    names: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for plugin in registry.plugins("dataset"):
        try:
            names[bool(reference.supports(registry.create("dataset", plugin.name)))].append(plugin.name)
        except (Exception, SystemExit):
            names[None].append(plugin.name)
    parts = [", ".join(names[True]) if names[False] else "every dataset"]
    parts += [f"not on {', '.join(names[False])}"] if names[False] else []
    parts += [f"not tried on {', '.join(names[None])}, which need parameters or files"] if names[None] else []
    return "; ".join(filter(None, parts))


def _architecture(configured: Configured, requested: Shape) -> Iterator[_Measure]:
    sides = [(requested[0], side, side) for side in OTHER_SIDES]
    network, shape, refusal = _first_accepted(configured, [requested, *sides])
    images = f"images of {_format_shape(shape)}"
    if refusal:
        yield "images", f"of {_format_shape(shape)}, since {_format_shape(requested)} is refused: {refusal}"
    sizes = {True: 0, False: 0}
    for parameter in network.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    frozen = f"; {format_number(sizes[False])} frozen" if sizes[False] else ""
    yield "parameters", f"{format_number(sizes[True])} ({sizes[True]:,}) to train, on {images}{frozen}"
    yield "multiply-adds", lambda: f"{format_number(multiply_adds(network, shape))} per image, on {images}"
    if sum(sizes.values()) > MAX_PARAMETERS:
        yield "forward pass", f"unknown: networks of over {format_number(MAX_PARAMETERS)} parameters are not built here"
        return

    def build(shape: Shape) -> nn.Module:
        try:
            return with_random_weights(build_network(lambda: configured.build(shape)), shape)
        except GahbenchError as error:
            # The constructor refuses this shape.
            raise ValueError(str(error)) from error

    yield "receptive field", lambda: str(receptive_field(build, shape[0]))
    small = _first_accepted(configured, [(shape[0], SMALL_SIDE, SMALL_SIDE), shape])[1]
    built, noisy, sigma = build(small), random_images(2, small), torch.full((2,), 0.1)
    yield "homogeneity", lambda: homogeneity(homogeneity_residual(built, noisy, sigma))
    yield "blind", lambda: _BLIND[is_blind(built, noisy)]
    obstacle = torch_func_obstacle(built, noisy, sigma)
    yield "torch.func", f"not differentiable: {obstacle}" if obstacle else "differentiable: vjp under vmap"


def _first_accepted(configured: Configured, shapes: list[Shape]) -> tuple[nn.Module, Shape, str]:
    """Return a network on the meta device if possible, the first shape that it accepts, and why it refuses earlier."""
    refusals: list[Exception] = []
    for shape in shapes:
        try:
            return _try_forward(configured, shape), shape, one_line(refusals[0]) if refusals else ""
        except (ValueError, GahbenchError) as error:
            refusals.append(error)
    raise refusals[0]


def _try_forward(configured: Configured, shape: Shape) -> nn.Module:
    """Return the network after a forward pass on an image of this shape."""
    try:
        with torch.device("meta"):
            network: nn.Module = configured.build(shape).eval()
        multiply_adds(network, shape)
    except (NotImplementedError, RuntimeError):
        # Some operations do not support the meta device.
        network = build_network(lambda: configured.build(shape)).eval()
        with torch.no_grad():
            network(torch.zeros(1, *shape), torch.ones(1))
    return network


def _format_shape(shape: Shape) -> str:
    return "x".join(map(str, shape))
