"""Maps from the weights of published code to the architectures here."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from dataclasses import dataclass

from torch import nn

from gahbench import ParameterError

from .chains import Batch, BiasFree, Link, written
from .reading import State


@dataclass(frozen=True)
class KeyMap:
    """Weights of one published program.

    Parameters
    ----------
    name
        As the parameter ``keys`` names it.
    applies
        Whether names are those of the program.
    convert
        The state dict of a network that computes the same in evaluation; raises ``ParameterError`` if it cannot.
    """

    name: str
    applies: Callable[[Set[str]], bool]
    convert: Callable[[State, nn.Module], State]


def _numbered(state: State, pattern: str) -> list[int]:
    """Return the numbers that a pattern finds in the names, ascending."""
    found = (re.fullmatch(pattern, name) for name in state)
    return sorted({int(match[1]) for match in found if match})


def kadkhodaie_cnn(state: State, network: nn.Module) -> State:
    """Convert BF_CNN and BF_CNN_RF of Kadkhodaie, Guth, Simoncelli & Mallat 2024.

    Published networks have no ReLU after their first convolution, as ``bf-cnn-rf`` here. Those that have one
    (``first_layer_linear=False``) have the same names, and are ``bf-cnn`` here.
    """
    norms = {
        number + 1: BiasFree(
            state[f"BN_layers.{number}.gammas"].flatten(), state[f"BN_layers.{number}.running_sd"].flatten()
        )
        for number in _numbered(state, r"BN_layers\.(\d+)\.gammas")
    }
    links = [
        Link(state[f"conv_layers.{number}.weight"], norm=norms.get(number))
        for number in _numbered(state, r"conv_layers\.(\d+)\.weight")
    ]
    return written(links, network)


#: Names here of the parts of the published UNet, and of its normalisation.
_PARTS = {"mid_block": "middle"}
_NORM = {"running_sd": "running_deviation", "gammas": "gain"}


def kadkhodaie_unet(state: State, network: nn.Module) -> State:
    """Convert the UNet of Kadkhodaie, Guth, Simoncelli & Mallat 2024 to ``unet``, whose layers have the same order.

    The published code numbers its upsampling blocks by their level, and ``unet`` by their turn, coarsest first.
    """
    levels = len(_numbered(state, r"encoder\.(\d+)\..*"))
    found: State = {}
    for name, tensor in state.items():
        part, *rest = name.split(".")
        if part in ("decoder", "upsample"):
            rest[0] = str(levels - 1 - int(rest[0]))
        if rest and rest[-1] in _NORM:
            rest[-1], tensor = _NORM[rest[-1]], tensor.flatten()
        found[".".join([_PARTS.get(part, part), *rest])] = tensor
    if len(found) < len(state):
        raise ParameterError("two of its weights get the same name")
    return found


#: Epsilon of batch normalisation in the published code: torch's own; KAIR sets another.
_EPSILON = 1e-5
_KAIR_EPSILON = 1e-4


def mohan_dncnn(state: State, network: nn.Module) -> State:
    """Convert the DnCNN of Mohan, Kadkhodaie, Simoncelli & Fernandez-Granda 2020.

    The bias-free one divides by the square root of the running variance, plus epsilon. The other has biases before its
    batch normalisations.
    """
    is_biased = "first_layer.bias" in state
    links = [Link(state["first_layer.weight"], state.get("first_layer.bias"))]
    for number in _numbered(state, r"hidden_layer_list\.(\d+)\.weight"):
        norm = f"bn_layer_list.{number}"
        links.append(
            Link(
                state[f"hidden_layer_list.{number}.weight"],
                state.get(f"hidden_layer_list.{number}.bias"),
                _batch(state, norm, _EPSILON)
                if is_biased
                else BiasFree(state[f"{norm}.weight"], state[f"{norm}.running_var"].sqrt() + _EPSILON),
            )
        )
    links.append(Link(state["last_layer.weight"], state.get("last_layer.bias")))
    return written(links, network)


def kair(state: State, network: nn.Module) -> State:
    """Convert DnCNN, FDnCNN and FFDNet of KAIR, with their batch normalisations or with those merged.

    The last two estimate the image, and ``dncnn`` and ``ffdnet`` here subtract the output of their layers.
    """
    links: list[Link] = []
    for number in _numbered(state, r"(\d+)\.weight"):
        weight = state[f"{number}.weight"]
        if weight.ndim == 4:
            links.append(Link(weight, state.get(f"{number}.bias")))
        elif links:
            links[-1] = Link(links[-1].weight, links[-1].bias, _batch(state, str(number), _KAIR_EPSILON))
    return written(links, network)


def _batch(state: State, name: str, epsilon: float) -> Batch:
    weight, bias, mean, variance = (
        state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return Batch(weight, bias, mean, variance, epsilon)


def _all(pattern: str) -> Callable[[Set[str]], bool]:
    """Return whether all of some names match a pattern."""
    return lambda names: all(re.fullmatch(pattern, name) for name in names)


#: In the order in which they are tried; each recognizes its names among those of all others.
KEY_MAPS = (
    KeyMap("kadkhodaie-cnn", _all(r"conv_layers\.\d+\.weight|BN_layers\.\d+\.(gammas|running_sd)"), kadkhodaie_cnn),
    KeyMap("kadkhodaie-unet", lambda names: "mid_block.0.weight" in names, kadkhodaie_unet),
    KeyMap(
        "mohan-dncnn",
        _all(
            r"(first_layer|last_layer|hidden_layer_list\.\d+)\.(weight|bias)"
            r"|bn_layer_list\.\d+\.(weight|bias|running_mean|running_var|num_batches_tracked)"
        ),
        mohan_dncnn,
    ),
    KeyMap("kair", _all(r"\d+\.(weight|bias|running_mean|running_var|num_batches_tracked)"), kair),
)
