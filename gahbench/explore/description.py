"""Facts about a plugin that ``gahbench describe`` measures within seconds.

Any plugin may fail: facts that cannot be measured are reported as unknown, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from gahbench._util.errors import GahbenchError, listing
from gahbench._util.readable import format_number
from gahbench._util.shapes import Shape
from gahbench.contracts.claims import CHECKED, Claim
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
from gahbench.testing.references import fitted_samples
from gahbench.training.hardware import multiply_adds

#: Default shape of images for which multiply-adds are counted.
SHAPE: Shape = (1, 64, 64)
#: Image sides to try if a network refuses the requested shape.
OTHER_SIDES = (32, 80, 96, 128, 224, 256)
#: Shape of images for all facts but the receptive field, if the network accepts it.
SMALL: Shape = (1, 32, 32)
#: Maximum size of a network that is built, to limit memory.
MAX_PARAMETERS = 200_000_000

_KINDS = {
    "trained": "trained: it uses what it was trained on",
    "classical": "classical: it uses neither the clean image nor the dataset",
    "optimal": "optimal: it uses the dataset",
    "oracle": "oracle: it uses the clean image",
    "bound": "bound: a limit that no denoiser can beat",
}
#: Names of facts that say why all facts about a plugin are unknown, where they differ from its kind.
_UNKNOWN = {"architecture": "network", "claim": "claims", "dataset": "images"}


@dataclass(frozen=True)
class Fact:
    """A measured fact about a plugin, or the reason why it is unknown."""

    name: str
    value: str


def facts(configured: Configured, registry: Registry, shape: Shape | None = None) -> Iterator[Fact]:
    """Yield the facts about a plugin, according to its kind."""
    try:
        if configured.kind == "architecture":
            yield from _architecture(configured, shape)
        if configured.kind == "reference":
            yield from _reference(configured, registry, shape)
        if configured.kind == "metric":
            yield from _metric(configured.build())
        if configured.kind == "claim":
            yield from _claims(configured.build())
        if configured.kind == "dataset":
            yield from _dataset(configured.build())
    except (Exception, SystemExit) as error:
        yield Fact(_UNKNOWN.get(configured.kind, configured.kind), f"unknown: {one_line(error)}")
    yield Fact("citation", _value_or_reason(lambda: _citation(configured)))


def _citation(configured: Configured) -> str:
    return "; ".join(map(str, citations(configured.plugin))) or "none"


def _dataset(dataset: Dataset) -> Iterator[Fact]:
    """Yield the number of images and notes, without slow preparation of data."""
    if missing := dataset.missing():
        yield Fact("images", f"missing: {listing(missing)}; `gahbench prepare` with a suite downloads them")
        return
    counts = {split: dataset.available(split) for split in SPLITS}
    sizes = listing(f"{split} {'endless' if count is None else count}" for split, count in counts.items())
    yield Fact("images", f"{sizes}; of {_format_shape(dataset.shape)}")
    for note in dataset.notes:
        yield Fact("note", note)


def _architecture(configured: Configured, requested: Shape | None) -> Iterator[Fact]:
    shape, refusal = _find_accepted_shape(configured, requested or SHAPE)
    if shape is None:
        yield Fact("network", f"unknown: {refusal}")
        return
    images = f"images of {_format_shape(shape)}"
    if refusal:
        yield Fact(
            "images", f"of {_format_shape(shape)}, since {_format_shape(requested or SHAPE)} is refused: {refusal}"
        )
    yield Fact("parameters", _value_or_reason(lambda: _parameters(configured, shape)))
    yield Fact(
        "multiply-adds",
        _value_or_reason(lambda: f"{format_number(_count_multiply_adds(configured, shape))} per image, on {images}"),
    )
    yield Fact(
        "receptive field",
        _value_or_reason(
            lambda: str(receptive_field(lambda trial: _build_with_random_weights(configured, trial), shape[0]))
        ),
    )
    small = _find_accepted_shape(configured, (shape[0], *SMALL[1:]))[0] or shape
    try:
        network, noisy = _build_with_random_weights(configured, small), random_images(2, small)
    except (Exception, SystemExit) as error:
        yield Fact("forward pass", f"unknown: {one_line(error)}")
        return
    sigma = torch.full((2,), 0.1)
    yield Fact("homogeneity", _value_or_reason(lambda: homogeneity(homogeneity_residual(network, noisy, sigma))))
    yield Fact("blind", _value_or_reason(lambda: _format_blind(is_blind(network, noisy))))
    yield Fact("torch.func", _value_or_reason(lambda: _format_obstacle(torch_func_obstacle(network, noisy, sigma))))


def _reference(configured: Configured, registry: Registry, shape: Shape | None) -> Iterator[Fact]:
    reference: Reference = configured.build()
    yield Fact("kind", _value_or_reason(lambda: _KINDS.get(reference.kind, str(reference.kind))))
    learns = "from training and validation images, if at all" if type(reference).fit is not Reference.fit else "nothing"
    yield Fact("learns", learns)
    yield Fact("defined on", _value_or_reason(lambda: _defined_on(reference, registry)))
    yield Fact("closed-form risk", _value_or_reason(lambda: _closed_form(configured)))
    for inner in configured.nested.values():
        if isinstance(inner, Configured) and inner.kind == "architecture":
            yield Fact("network", inner.label)
            yield from _architecture(inner, shape)
            yield Fact("citation of the network", _value_or_reason(lambda inner=inner: _citation(inner)))  # type: ignore[misc]


def _claims(claims: Sequence[Claim]) -> Iterator[Fact]:
    yield Fact("paper", str(claims[0].paper))
    for claim in claims:
        yield Fact(claim.id, f"{claim.statement} {claim.location}, {CHECKED[claim.checked]}; region {claim.region}")


def _metric(metric: Metric) -> Iterator[Fact]:
    yield Fact("unit", metric.unit or "none")
    directions = {True: "higher is better", False: "lower is better", None: "neither higher nor lower is better"}
    yield Fact("direction", directions[metric.higher_is_better])
    images = f"{metric.min_images} images or more" if metric.min_images > 1 else "images"
    yield Fact("needs", ", ".join([images, *sorted(metric.needs)]))


def _defined_on(reference: Reference, registry: Registry) -> str:
    supported, unsupported, untried = list[str](), list[str](), list[str]()
    for plugin in registry.plugins("dataset"):
        try:
            dataset: Dataset = registry.create("dataset", plugin.name)
            (supported if reference.supports(dataset) else unsupported).append(plugin.name)
        except (Exception, SystemExit):
            untried.append(plugin.name)
    text = ", ".join(supported) if unsupported or not supported else "every dataset"
    parts = [text or "no dataset that could be tried"]
    if unsupported:
        parts.append(f"not on {', '.join(unsupported)}")
    if untried:
        parts.append(f"not tried on {', '.join(untried)}, which need parameters or files")
    return "; ".join(parts)


def _closed_form(configured: Configured) -> str:
    for reference, truth in fitted_samples(configured):
        return "yes" if reference.risk(truth, 0.1) is not None else "no: measured on noisy images"
    return "unknown: no dataset to try it on"


def _find_accepted_shape(configured: Configured, shape: Shape) -> tuple[Shape | None, str]:
    """Return the first shape that the network accepts, and the error that the requested shape raises, if any."""
    refusal = ""
    for candidate in (shape, *((shape[0], side, side) for side in OTHER_SIDES)):
        try:
            _try_forward(configured, candidate)
        except (ValueError, GahbenchError) as error:
            refusal = refusal or one_line(error)
        except (Exception, SystemExit) as error:
            # Other errors are not about the size of images.
            return None, one_line(error)
        else:
            return candidate, refusal
    return None, refusal


def _try_forward(configured: Configured, shape: Shape) -> None:
    """Call the network on an image of this shape, to raise its error if any."""
    try:
        _count_multiply_adds(configured, shape)
    except (NotImplementedError, RuntimeError):
        # Some operations do not support the meta device.
        with torch.no_grad():
            _build(configured, shape).eval()(torch.zeros(1, *shape), torch.ones(1))


def _build_on_meta(configured: Configured, shape: Shape) -> nn.Module:
    with torch.device("meta"):
        network: nn.Module = configured.build(shape).eval()
    return network


def _build(configured: Configured, shape: Shape) -> nn.Module:
    try:
        size = sum(parameter.numel() for parameter in _build_on_meta(configured, shape).parameters())
    except (NotImplementedError, RuntimeError):
        size = 0
    if size > MAX_PARAMETERS:
        raise ValueError(
            f"its {format_number(size)} parameters for images of {_format_shape(shape)} are too many to build here"
        )
    return build_network(lambda: configured.build(shape))


def _build_with_random_weights(configured: Configured, shape: Shape) -> nn.Module:
    try:
        return with_random_weights(_build(configured, shape), shape)
    except GahbenchError as error:
        # The constructor refuses this shape.
        raise ValueError(str(error)) from error


def _parameters(configured: Configured, shape: Shape) -> str:
    try:
        network = _build_on_meta(configured, shape)
    except (NotImplementedError, RuntimeError):
        network = _build(configured, shape)
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    frozen = sum(parameter.numel() for parameter in network.parameters() if not parameter.requires_grad)
    text = f"{format_number(trained)} ({trained:,}) to train, on images of {_format_shape(shape)}"
    return f"{text}; {format_number(frozen)} frozen" if frozen else text


def _count_multiply_adds(configured: Configured, shape: Shape) -> float:
    return multiply_adds(_build_on_meta(configured, shape), shape)


def _format_blind(blind: bool) -> str:
    return "yes: the result does not depend on sigma" if blind else "no: the result depends on sigma"


def _format_obstacle(obstacle: str | None) -> str:
    return f"not differentiable: {obstacle}" if obstacle else "differentiable: vjp under vmap"


def _format_shape(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _value_or_reason(measure: Callable[[], str]) -> str:
    try:
        return measure()
    except (Exception, SystemExit) as error:
        return f"unknown: {one_line(error)}"
