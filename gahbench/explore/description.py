"""Facts about a plugin that ``gahbench describe`` measures within seconds.

Any plugin may fail: facts that cannot be measured are reported as unknown, with the reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import nn

from gahbench._util.errors import GahbenchError, PluginError, error_text, listing, suggestion
from gahbench._util.readable import format_number
from gahbench._util.shapes import Shape
from gahbench.contracts.claims import Claim
from gahbench.contracts.metrics import Metric
from gahbench.contracts.references import Reference
from gahbench.networks import network_facts
from gahbench.networks.initialisation import build_network
from gahbench.networks.receptive_field import receptive_field
from gahbench.planning.suite_entries import configure_entrant
from gahbench.registry.configured import KINDS, Configured, Plugin, citations, iterate_nested
from gahbench.registry.registry import Registry
from gahbench.registry.spec import parse_spec
from gahbench.training.hardware import multiply_adds

#: Default shape of images for which multiply-adds are counted.
SHAPE: Shape = (1, 64, 64)
#: Side of images for all facts but the receptive field, and sides to try if a network refuses the requested shape.
SMALL_SIDE, OTHER_SIDES = 32, (32, 80, 96, 128, 224, 256)

_KINDS = {
    "trained": "trained: it uses what it was trained on",
    "classical": "classical: it uses neither the clean image nor the dataset",
    "optimal": "optimal: it uses the dataset",
    "oracle": "oracle: it uses the clean image",
    "bound": "bound: a limit that no denoiser can beat",
}
_DIRECTIONS = {True: "higher is better", False: "lower is better", None: "neither higher nor lower is better"}
#: The name of a fact, and its value or a function that measures it.
_Fact = tuple[str, str | Callable[[], str]]


def find_plugins(text: str, registry: Registry) -> Iterator[tuple[Plugin, Configured | None]]:
    """Yield the plugins of a name with parameters; not configured if parameters are required, and none is set."""
    spec = parse_spec(text)
    if not (plugins := [plugin for kind in KINDS if (plugin := registry.find(kind, spec.name))]):
        near = suggestion(spec.name, [name for kind in KINDS for name in registry.names(kind)], most=3) or ";"
        raise PluginError(f"nothing is named '{text}'{near} 'gahbench list' prints all names{registry.missing}")
    for plugin in plugins:
        is_set = spec.positional or spec.keywords or not any(parameter.required for parameter in plugin.parameters)
        yield plugin, configure_entrant(registry, spec, (plugin.kind,)) if is_set else None


def facts(configured: Configured, registry: Registry, shape: Shape | None = None) -> Iterator[tuple[str, str]]:
    """Yield the names and values of the facts about a plugin, according to its kind."""
    measures: dict[str, Callable[[], Iterator[_Fact]]] = {
        "architecture": lambda: _architecture(configured, shape or SHAPE),
        "reference": lambda: _reference(configured, registry, shape or SHAPE),
        "metric": lambda: _metric(configured.build()),
        "claim": lambda: _claims(configured.build()),
    }
    try:
        for name, measure in measures.get(configured.kind, lambda: iter(()))():
            yield name, measure if isinstance(measure, str) else _value_or_reason(measure)
    except Exception as error:
        yield configured.kind, f"unknown: {error_text(error)}"
    works = dict.fromkeys(str(work) for nested in iterate_nested(configured) for work in citations(nested.plugin))
    yield "citation", "; ".join(works) or "none"


def _value_or_reason(measure: Callable[[], str]) -> str:
    try:
        return measure()
    except Exception as error:
        return f"unknown: {error_text(error)}"


def _claims(claims: list[Claim]) -> Iterator[_Fact]:
    yield "paper", str(claims[0].paper)
    for claim in claims:
        yield claim.id, f"{claim.statement} {claim.source}; region {claim.region}"


def _metric(metric: Metric) -> Iterator[_Fact]:
    yield "unit", metric.unit or "none"
    yield "direction", _DIRECTIONS[metric.higher_is_better]
    images = f"{metric.min_images} images or more" if metric.min_images > 1 else "images"
    yield "needs", ", ".join([images, *sorted(metric.needs)])


def _reference(configured: Configured, registry: Registry, shape: Shape) -> Iterator[_Fact]:
    reference: Reference = configured.build()
    yield "kind", _KINDS.get(reference.kind, str(reference.kind))
    is_limited = type(reference).supports is not Reference.supports
    yield "defined on", lambda: listing(_defined_on(reference, registry)) if is_limited else "every dataset"
    for inner in configured.nested.values():
        if isinstance(inner, Configured) and inner.kind == "architecture":
            yield "network", inner.label
            yield from _architecture(inner, shape)


def _defined_on(reference: Reference, registry: Registry) -> Iterator[str]:
    """Yield the datasets on which a reference is defined, among those that need no parameters or packages."""
    for plugin in registry.plugins("dataset"):
        with contextlib.suppress(Exception):
            if reference.supports(registry.create("dataset", plugin.name)):
                yield plugin.name


def _architecture(configured: Configured, requested: Shape) -> Iterator[_Fact]:
    sides = [(requested[0], side, side) for side in OTHER_SIDES]
    network, shape, refusal = _first_accepted(configured, [requested, *sides])
    images = f"images of {_format_shape(shape)}"
    if refusal:
        yield "images", f"of {_format_shape(shape)}, since {_format_shape(requested)} is refused: {refusal}"
    size = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    yield "parameters", f"{format_number(size)} ({size:,}) to train, on {images}"
    yield "multiply-adds", lambda: f"{format_number(multiply_adds(network, shape))} per image, on {images}"

    def build(shape: Shape) -> nn.Module:
        try:
            return network_facts.with_random_weights(build_network(lambda: configured.build(shape)), shape)
        except GahbenchError as error:
            # The constructor refuses this shape.
            raise ValueError(str(error)) from error

    yield "receptive field", lambda: str(receptive_field(build, shape[0]))
    small = _first_accepted(configured, [(shape[0], SMALL_SIDE, SMALL_SIDE), shape])[1]
    built, noisy, sigma = build(small), network_facts.random_images(2, small), torch.full((2,), 0.1)
    yield "homogeneity", lambda: network_facts.homogeneity(network_facts.homogeneity_residual(built, noisy, sigma))
    yield "blind", lambda: f"{'yes' if network_facts.is_blind(built, noisy) else 'no'}, as to the noise level"
    obstacle = network_facts.torch_func_obstacle(built, noisy, sigma)
    yield "torch.func", f"not differentiable: {obstacle}" if obstacle else "differentiable: vjp under vmap"


def _first_accepted(configured: Configured, shapes: list[Shape]) -> tuple[nn.Module, Shape, str]:
    """Return a network on the meta device if possible, the first shape that it accepts, and why it refuses earlier."""
    refusals: list[Exception] = []
    for shape in shapes:
        try:
            return _try_forward(configured, shape), shape, error_text(refusals[0]) if refusals else ""
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
