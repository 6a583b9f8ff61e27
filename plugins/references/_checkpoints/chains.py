"""Chains of convolutions: published layers, and how they are written into a network of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from gahbench import ParameterError

from ...architectures._bias_free import BiasFreeNorm
from .reading import State


@dataclass(frozen=True)
class BiasFree:
    """Multiplication by gain over deviation, each of shape (channels,)."""

    gain: Tensor
    deviation: Tensor


@dataclass(frozen=True)
class Batch:
    """Ordinary batch normalisation, each tensor of shape (channels,)."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    variance: Tensor
    epsilon: float


@dataclass(frozen=True)
class Link:
    """A convolution, and the normalisation after it."""

    weight: Tensor
    bias: Tensor | None = None
    norm: BiasFree | Batch | None = None


@dataclass
class _Place:
    """The target of a link: modules of a network, with their names."""

    name: str
    convolution: nn.Conv2d
    norm_name: str = ""
    norm: nn.BatchNorm2d | BiasFreeNorm | None = None


def written(links: Sequence[Link], network: nn.Module) -> State:
    """Return the state dict that makes a network compute what a published chain computes in evaluation."""
    places = _places(network)
    if len(places) != len(links):
        raise ParameterError(f"it has {len(links)} convolutions, and the network {len(places)}")
    state: State = {}
    for number, (link, place) in enumerate(zip(links, places, strict=True), start=1):
        state[f"{place.name}.weight"] = link.weight
        shift = link.bias
        norm, target = link.norm, place.norm
        if isinstance(norm, Batch) and isinstance(target, nn.BatchNorm2d):
            folded = shift if shift is not None and place.convolution.bias is None else None
            state |= {
                f"{place.norm_name}.weight": norm.weight,
                f"{place.norm_name}.bias": norm.bias,
                f"{place.norm_name}.running_mean": norm.mean if folded is None else norm.mean - folded,
                f"{place.norm_name}.running_var": norm.variance + norm.epsilon - target.eps,
            }
            shift = shift if folded is None else None
        elif isinstance(norm, BiasFree) and isinstance(target, BiasFreeNorm):
            state |= {
                f"{place.norm_name}.gain": norm.gain,
                f"{place.norm_name}.running_deviation": norm.deviation,
            }
        elif norm is not None or target is not None:
            raise ParameterError(f"after convolution {number} it has {_name(norm)}, and the network {_name(target)}")
        if shift is not None:
            state[f"{place.name}.bias"] = shift
    return state


def _places(network: nn.Module) -> list[_Place]:
    places: list[_Place] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            places.append(_Place(name, module))
        elif isinstance(module, nn.BatchNorm2d | BiasFreeNorm) and places:
            places[-1].norm_name, places[-1].norm = name, module
    return places


def _name(norm: object) -> str:
    if norm is None:
        return "no normalisation"
    return "batch normalisation" if isinstance(norm, Batch | nn.BatchNorm2d) else "bias-free normalisation"
