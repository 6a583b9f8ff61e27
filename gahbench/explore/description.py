"""Facts that ``gahbench describe`` measures of an entrant, in seconds.

Any plugin may fail: a fact that cannot be measured is reported as unknown, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from gahbench._util.errors import GahbenchError, listing
from gahbench._util.readable import count
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

#: The shape of images for which multiply-adds are counted, unless another is given.
SHAPE: Shape = (1, 64, 64)
#: Sides that are tried where that is refused.
OTHER_SIDES = (32, 80, 96, 128, 224, 256)
#: Images that are enough for everything but the receptive field, if they are accepted.
SMALL: Shape = (1, 32, 32)
#: Larger networks are not built, for memory.
MAX_PARAMETERS = 200_000_000

_SEES = {
    "trained": "trained: it uses what it was trained on",
    "classical": "classical: it uses neither the clean image nor the dataset",
    "optimal": "optimal: it uses the dataset",
    "oracle": "oracle: it uses the clean image",
    "bound": "bound: a limit that no denoiser can beat",
}


@dataclass(frozen=True)
class Fact:
    """A measured fact about a plugin, or why it could not be measured."""

    name: str
    value: str


def facts(configured: Configured, registry: Registry, shape: Shape | None = None) -> Iterator[Fact]:
    """Yield the facts about a plugin: of every kind its citation, of networks, references and metrics more."""
    if configured.kind == "architecture":
        yield from _architecture(configured, shape)
    if configured.kind == "reference":
        yield from _reference(configured, registry, shape)
    if configured.kind == "metric":
        yield from _metric(configured)
    if configured.kind == "claim":
        yield from _claims(configured)
    if configured.kind == "dataset":
        yield from _dataset(configured)
    yield Fact("citation", _or_why(lambda: _citation(configured)))


def _citation(configured: Configured) -> str:
    return "; ".join(map(str, citations(configured.plugin))) or "none"


def _dataset(configured: Configured) -> Iterator[Fact]:
    """Yield how many images there are, and the notes; nothing that takes long is prepared for it."""
    try:
        dataset: Dataset = configured.build()
        if missing := dataset.missing():
            yield Fact("images", f"not here yet: {listing(missing)}; `gahbench prepare` with a suite gets them")
            return
        counts = {split: dataset.available(split) for split in SPLITS}
        numbers = listing(f"{split} {'endless' if held is None else held}" for split, held in counts.items())
        yield Fact("images", f"{numbers}; of {_by(dataset.shape)}")
        for note in dataset.notes:
            yield Fact("note", note)
    except Exception as error:
        yield Fact("images", f"unknown: {one_line(error)}")


def _architecture(configured: Configured, asked: Shape | None) -> Iterator[Fact]:
    shape, refusal = _accepted(configured, asked or SHAPE)
    if shape is None:
        yield Fact("network", f"unknown, and all about it: {refusal}")
        return
    images = f"images of {_by(shape)}"
    if refusal:
        yield Fact("images", f"of {_by(shape)}, since {_by(asked or SHAPE)} is refused: {refusal}")
    yield Fact("parameters", _or_why(lambda: _parameters(configured, shape)))
    yield Fact("multiply-adds", _or_why(lambda: f"{count(_work(configured, shape))} for one of the {images}"))
    yield Fact("receptive field", _or_why(lambda: str(receptive_field(lambda one: _random(configured, one), shape[0]))))
    small = _accepted(configured, (shape[0], *SMALL[1:]))[0] or shape
    try:
        network, noisy = _random(configured, small), random_images(2, small)
    except (Exception, SystemExit) as error:
        yield Fact("in use", f"unknown: {one_line(error)}")
        return
    sigma = torch.full((2,), 0.1)
    yield Fact("homogeneity", _or_why(lambda: homogeneity(homogeneity_residual(network, noisy, sigma))))
    yield Fact("blind", _or_why(lambda: _blind(is_blind(network, noisy))))
    yield Fact("torch.func", _or_why(lambda: _differentiable(torch_func_obstacle(network, noisy, sigma))))


def _reference(configured: Configured, registry: Registry, shape: Shape | None) -> Iterator[Fact]:
    try:
        reference: Reference = configured.build()
    except (Exception, SystemExit) as error:
        yield Fact("reference", f"unknown, and all about it: {one_line(error)}")
        return
    yield Fact("kind", _or_why(lambda: _SEES.get(reference.kind, str(reference.kind))))
    learns = "from training and validation images, if at all" if type(reference).fit is not Reference.fit else "nothing"
    yield Fact("learns", learns)
    yield Fact("defined on", _or_why(lambda: _defined_on(reference, registry)))
    yield Fact("closed-form risk", _or_why(lambda: _closed_form(configured)))
    for inner in configured.nested.values():
        if isinstance(inner, Configured) and inner.kind == "architecture":
            yield Fact("network", inner.label)
            yield from _architecture(inner, shape)
            yield Fact("citation of the network", _or_why(lambda inner=inner: _citation(inner)))  # type: ignore[misc]


def _claims(configured: Configured) -> Iterator[Fact]:
    try:
        claims: Sequence[Claim] = configured.build()
        yield Fact("paper", str(claims[0].paper))
        for claim in claims:
            yield Fact(claim.id, f"{claim.statement} {claim.place}, {CHECKED[claim.checked]}; region {claim.region}")
    except (Exception, SystemExit) as error:
        yield Fact("claims", f"unknown: {one_line(error)}")


def _metric(configured: Configured) -> Iterator[Fact]:
    try:
        metric: Metric = configured.build()
    except (Exception, SystemExit) as error:
        yield Fact("metric", f"unknown, and all about it: {one_line(error)}")
        return
    yield Fact("unit", metric.unit or "none")
    directions = {True: "higher is better", False: "lower is better", None: "neither higher nor lower is better"}
    yield Fact("direction", directions[metric.higher_is_better])
    images = f"{metric.min_images} images or more" if metric.min_images > 1 else "images"
    yield Fact("needs", ", ".join([images, *sorted(metric.needs)]))


def _defined_on(reference: Reference, registry: Registry) -> str:
    known, unknown, untried = list[str](), list[str](), list[str]()
    for plugin in registry.plugins("dataset"):
        try:
            dataset: Dataset = registry.create("dataset", plugin.name)
            (known if reference.supports(dataset) else unknown).append(plugin.name)
        except (Exception, SystemExit):
            untried.append(plugin.name)
    text = ", ".join(known) if unknown or not known else "every dataset"
    parts = [text or "none that could be tried"]
    if unknown:
        parts.append(f"not on {', '.join(unknown)}")
    if untried:
        parts.append(f"not tried on {', '.join(untried)}, which need parameters or files")
    return "; ".join(parts)


def _closed_form(configured: Configured) -> str:
    for reference, truth in fitted_samples(configured):
        return "yes" if reference.risk(truth, 0.1) is not None else "no: measured on noisy images"
    return "unknown: there is no dataset to try it on"


def _accepted(configured: Configured, shape: Shape) -> tuple[Shape | None, str]:
    """Return the first shape that the network accepts, and why it refuses the requested one, if it does."""
    refusal = ""
    for one in (shape, *((shape[0], side, side) for side in OTHER_SIDES)):
        try:
            _take(configured, one)
        except (ValueError, GahbenchError) as error:
            refusal = refusal or one_line(error)
        except (Exception, SystemExit) as error:
            # Not a size that is refused, but a fault.
            return None, one_line(error)
        else:
            return one, refusal
    return None, refusal


def _take(configured: Configured, shape: Shape) -> None:
    """Call the network on an image of this shape, and raise its error, if any."""
    try:
        _work(configured, shape)
    except (NotImplementedError, RuntimeError):
        # Not every operation supports the meta device.
        with torch.no_grad():
            _built(configured, shape).eval()(torch.zeros(1, *shape), torch.ones(1))


def _on_meta(configured: Configured, shape: Shape) -> nn.Module:
    with torch.device("meta"):
        network: nn.Module = configured.build(shape).eval()
    return network


def _built(configured: Configured, shape: Shape) -> nn.Module:
    try:
        size = sum(parameter.numel() for parameter in _on_meta(configured, shape).parameters())
    except (NotImplementedError, RuntimeError):
        size = 0
    if size > MAX_PARAMETERS:
        raise ValueError(f"its {count(size)} parameters for images of {_by(shape)} are too many to build here")
    return build_network(lambda: configured.build(shape))


def _random(configured: Configured, shape: Shape) -> nn.Module:
    try:
        return with_random_weights(_built(configured, shape), shape)
    except GahbenchError as error:
        # A constructor's refusal of a shape.
        raise ValueError(str(error)) from error


def _parameters(configured: Configured, shape: Shape) -> str:
    try:
        network = _on_meta(configured, shape)
    except (NotImplementedError, RuntimeError):
        network = _built(configured, shape)
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    frozen = sum(parameter.numel() for parameter in network.parameters() if not parameter.requires_grad)
    text = f"{count(trained)} ({trained:,}) to train, on images of {_by(shape)}"
    return f"{text}; {count(frozen)} frozen" if frozen else text


def _work(configured: Configured, shape: Shape) -> float:
    return multiply_adds(_on_meta(configured, shape), shape)


def _blind(blind: bool) -> str:
    return "yes: the result does not depend on sigma" if blind else "no: the result depends on sigma"


def _differentiable(obstacle: str | None) -> str:
    return f"not differentiable: {obstacle}" if obstacle else "differentiable: vjp under vmap"


def _by(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _or_why(measure: Callable[[], str]) -> str:
    try:
        return measure()
    except (Exception, SystemExit) as error:
        return f"unknown: {one_line(error)}"
