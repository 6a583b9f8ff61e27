"""Weights of published code, and how they are written into the architectures here."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from gahbench import ParameterError

from ...architectures._bias_free import BiasFreeNorm
from ...architectures._chain import Chain
from .reading import State

#: What the output of ``forward`` is with some weights: the denoised image, or the noise.
Output = Literal["image", "residual"]


@dataclass(frozen=True)
class KeyMap:
    """Weights of one published program."""

    name: str
    weights: str
    applies: Callable[[Set[str]], bool]
    convert: Callable[[State, nn.Module], State]
    output: Callable[[nn.Module], Output] = lambda network: "image"
    prefix: str = ""


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


def _numbered(state: State, pattern: str) -> list[int]:
    """Return the numbers that a pattern finds in the names, ascending."""
    found = (re.fullmatch(pattern, name) for name in state)
    return sorted({int(match[1]) for match in found if match})


def kadkhodaie_cnn(state: State, network: nn.Module) -> State:
    """Convert BF_CNN and BF_CNN_RF of Kadkhodaie, Guth, Simoncelli & Mallat 2024."""
    return written(_bias_free_links(state, "BN_layers.{}.gammas", "BN_layers.{}.running_sd"), network)


def kadkhodaie_cnn_2021(state: State, network: nn.Module) -> State:
    """Convert BF_CNN of Kadkhodaie & Simoncelli 2021, ``bf-cnn`` here: a ReLU follows its first convolution."""
    if not _relu_follows_first(network):
        raise ParameterError("a ReLU follows its first convolution, as in bf-cnn, and none in the network")
    return written(_bias_free_links(state, "gammas.{}", "running_sd.{}"), network)


def _bias_free_links(state: State, gain: str, deviation: str) -> list[Link]:
    """Return the convolutions with their normalisations; the texts are the names of these, with {} for a number."""
    norms = {
        number + 1: BiasFree(state[gain.format(number)].flatten(), state[deviation.format(number)].flatten())
        for number in _numbered(state, gain.replace(".", r"\.").format(r"(\d+)"))
    }
    return [
        Link(state[f"conv_layers.{number}.weight"], norm=norms.get(number))
        for number in _numbered(state, r"conv_layers\.(\d+)\.weight")
    ]


def _relu_follows_first(network: nn.Module) -> bool:
    leaves = [module for module in network.modules() if not any(module.children())]
    return len(leaves) > 1 and isinstance(leaves[0], nn.Conv2d) and isinstance(leaves[1], nn.ReLU)


#: Names here of the parts of the published UNet, and of its normalisation.
_PARTS = {"mid_block": "middle"}
_NORM = {"running_sd": "running_deviation", "gammas": "gain"}


def kadkhodaie_unet(state: State, network: nn.Module) -> State:
    """Convert the UNet of Kadkhodaie, Guth, Simoncelli & Mallat 2024 to ``unet``, whose layers have the same order."""
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
#: Names of layers there, by their number, and before it that of the network where a file has several.
_KAIR_LAYER = r"(?:\d+\.(?:model\.)?)?\d+"


def mohan_dncnn(state: State, network: nn.Module) -> State:
    """Convert the DnCNN of Mohan, Kadkhodaie, Simoncelli & Fernandez-Granda 2020."""
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
    """Convert DnCNN, FDnCNN, FFDNet and IRCNN of KAIR, with their batch normalisations or with those merged."""
    links: list[Link] = []
    layers = (re.fullmatch(rf"({_KAIR_LAYER})\.weight", name) for name in state)
    for layer in sorted((match[1] for match in layers if match), key=_numbers):
        weight = state[f"{layer}.weight"]
        if weight.ndim == 4:
            links.append(Link(weight, state.get(f"{layer}.bias")))
        elif links:
            links[-1] = Link(links[-1].weight, links[-1].bias, _batch(state, layer, _KAIR_EPSILON))
    return written(links, network)


def _kair_output(network: nn.Module) -> Output:
    """Return the noise for FDnCNN and FFDNet: their layers estimate the image, not the noise."""
    return "residual" if isinstance(network, Chain) and not network.blind else "image"


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


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
    KeyMap(
        "kadkhodaie-cnn",
        "BF_CNN and BF_CNN_RF of Kadkhodaie et al. 2024",
        _all(r"conv_layers\.\d+\.weight|BN_layers\.\d+\.(gammas|running_sd)"),
        kadkhodaie_cnn,
    ),
    KeyMap(
        "kadkhodaie-cnn-2021",
        "BF_CNN of Kadkhodaie & Simoncelli 2021",
        _all(r"conv_layers\.\d+\.weight|(gammas|running_sd)\.\d+"),
        kadkhodaie_cnn_2021,
    ),
    KeyMap(
        "kadkhodaie-unet",
        "UNet of Kadkhodaie et al. 2024",
        lambda names: "mid_block.0.weight" in names,
        kadkhodaie_unet,
    ),
    KeyMap(
        "mohan-dncnn",
        "DnCNN of Mohan et al. 2020",
        _all(
            r"(first_layer|last_layer|hidden_layer_list\.\d+)\.(weight|bias)"
            r"|bn_layer_list\.\d+\.(weight|bias|running_mean|running_var|num_batches_tracked)"
        ),
        mohan_dncnn,
    ),
    KeyMap(
        "kair",
        "DnCNN, FDnCNN, FFDNet and IRCNN of KAIR",
        _all(_KAIR_LAYER + r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"),
        kair,
        _kair_output,
        "model.",
    ),
)


def why(name: str) -> str:
    """Return by what a key map is chosen, in a few words; nothing for ``same``."""
    return next((f", named as those of {key_map.weights}" for key_map in KEY_MAPS if key_map.name == name), "")
