"""Conversion of state dicts of published code to the architectures of gahbench."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor, nn

from gahbench import ParameterError
from gahbench._util.readable import brief

from ...architectures._bias_free import BiasFreeNorm
from ...architectures._chain import Chain
from .reading import State, remove_prefixes

Keys = Literal["auto", "same", "kadkhodaie-cnn", "kadkhodaie-cnn-2021", "kadkhodaie-unet", "mohan-dncnn", "kair"]

#: Largest number of differing keys of each kind in an error message.
MAX_LISTED = 3
#: Suffix of batch counters of batch normalisation, which have no effect in evaluation; old files lack them.
_COUNTER = "num_batches_tracked"
#: Output of ``forward``: the denoised image, or the noise.
Output = Literal["image", "residual"]


@dataclass(frozen=True)
class KeyMap:
    """Conversion of the weights of a published program."""

    name: str
    weights: str
    applies: Callable[[Set[str]], bool]
    convert: Callable[[State, nn.Module], State]
    output: Callable[[nn.Module], Output] = lambda network: "image"
    prefix: str = ""
    #: A parameter of the published network that its weights do not determine, for notes.
    assumption: str = ""


@dataclass(frozen=True)
class Link:
    """Weights of a published convolution and of the normalisation after it, by their names in gahbench.

    The variance of a batch normalisation includes the epsilon of the published code.
    """

    weight: Tensor
    bias: Tensor | None = None
    norm: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass
class _Target:
    """A convolution of a network and the normalisation after it, with their names."""

    name: str
    convolution: nn.Conv2d
    norm_name: str = ""
    norm: nn.BatchNorm2d | BiasFreeNorm | None = None


def build_state(links: Sequence[Link], network: nn.Module) -> State:
    """Return the state dict with which a network equals a published chain of convolutions in evaluation mode."""
    targets = _targets(network)
    if len(targets) != len(links):
        raise ParameterError(f"the file has {len(links)} convolutions, and the network {len(targets)}")
    state: State = {}
    for number, (link, target) in enumerate(zip(links, targets, strict=True), start=1):
        state[f"{target.name}.weight"] = link.weight
        bias, norm = link.bias, dict(link.norm)
        kind, expected = _kind(norm), _kind(target.norm.state_dict() if target.norm else ())
        if kind != expected:
            raise ParameterError(f"after convolution {number} the file has {kind}, and the network {expected}")
        if isinstance(target.norm, nn.BatchNorm2d):
            norm["running_var"] = norm["running_var"] - target.norm.eps
            if bias is not None and target.convolution.bias is None:
                norm["running_mean"], bias = norm["running_mean"] - bias, None
        state |= {f"{target.norm_name}.{name}": tensor for name, tensor in norm.items()}
        if bias is not None:
            state[f"{target.name}.bias"] = bias
    return state


def _targets(network: nn.Module) -> list[_Target]:
    targets: list[_Target] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            targets.append(_Target(name, module))
        elif isinstance(module, nn.BatchNorm2d | BiasFreeNorm) and targets:
            targets[-1].norm_name, targets[-1].norm = name, module
    return targets


def _kind(names: Container[str]) -> str:
    """Return the kind of normalisation with the given names of weights."""
    if "running_deviation" in names:
        return "bias-free normalisation"
    return "batch normalisation" if "running_var" in names else "no normalisation"


def _bias_free_norm(gain: Tensor, deviation: Tensor) -> State:
    return {"gain": gain, "running_deviation": deviation}


def _batch_norm(state: State, name: str, epsilon: float) -> State:
    norm = {part: state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")}
    return {**norm, "running_var": norm["running_var"] + epsilon}


def _layer_numbers(state: State, pattern: str) -> list[int]:
    """Return the numbers matched by a pattern in the names, in ascending order."""
    matches = (re.fullmatch(pattern, name) for name in state)
    return sorted({int(match[1]) for match in matches if match})


def kadkhodaie_cnn(state: State, network: nn.Module) -> State:
    """Convert BF_CNN and BF_CNN_RF of Kadkhodaie, Guth, Simoncelli & Mallat 2024."""
    return build_state(_bias_free_links(state, "BN_layers.{}.gammas", "BN_layers.{}.running_sd"), network)


def kadkhodaie_cnn_2021(state: State, network: nn.Module) -> State:
    """Convert BF_CNN of Kadkhodaie & Simoncelli 2021 to ``bf-cnn``, in which a ReLU follows the first convolution."""
    if not _relu_follows_first(network):
        raise ParameterError(
            "a ReLU follows the first convolution of the published network, as in bf-cnn, but not of this network"
        )
    return build_state(_bias_free_links(state, "gammas.{}", "running_sd.{}"), network)


def _bias_free_links(state: State, gain: str, deviation: str) -> list[Link]:
    """Return the convolutions and normalisations; ``gain`` and ``deviation`` are name patterns with {} for a number."""
    norms = {
        number + 1: _bias_free_norm(state[gain.format(number)].flatten(), state[deviation.format(number)].flatten())
        for number in _layer_numbers(state, gain.replace(".", r"\.").format(r"(\d+)"))
    }
    return [
        Link(state[f"conv_layers.{number}.weight"], norm=norms.get(number, {}))
        for number in _layer_numbers(state, r"conv_layers\.(\d+)\.weight")
    ]


def _relu_follows_first(network: nn.Module) -> bool:
    leaves = [module for module in network.modules() if not any(module.children())]
    return len(leaves) > 1 and isinstance(leaves[0], nn.Conv2d) and isinstance(leaves[1], nn.ReLU)


#: Names in gahbench of blocks of the published UNet, and of the weights of its normalisation.
_PARTS = {"mid_block": "middle"}
_NORM = {"running_sd": "running_deviation", "gammas": "gain"}


def kadkhodaie_unet(state: State, network: nn.Module) -> State:
    """Convert the UNet of Kadkhodaie, Guth, Simoncelli & Mallat 2024 to ``unet``."""
    levels = len(_layer_numbers(state, r"encoder\.(\d+)\..*"))
    converted: State = {}
    for name, tensor in state.items():
        part, *rest = name.split(".")
        if part in ("decoder", "upsample"):
            rest[0] = str(levels - 1 - int(rest[0]))
        if rest and rest[-1] in _NORM:
            rest[-1], tensor = _NORM[rest[-1]], tensor.flatten()
        converted[".".join([_PARTS.get(part, part), *rest])] = tensor
    if len(converted) < len(state):
        raise ParameterError("two weights are converted to the same name")
    return converted


#: Epsilon of batch normalisation in published code: the default of torch, and the value of KAIR.
_EPSILON = 1e-5
_KAIR_EPSILON = 1e-4
#: Patterns of layer names in KAIR: the layer number, after the network number if a file contains several networks.
_KAIR_LAYER = r"(?:\d+\.(?:model\.)?)?\d+"


def mohan_dncnn(state: State, network: nn.Module) -> State:
    """Convert the DnCNN of Mohan, Kadkhodaie, Simoncelli & Fernandez-Granda 2020."""
    is_biased = "first_layer.bias" in state
    links = [Link(state["first_layer.weight"], state.get("first_layer.bias"))]
    for number in _layer_numbers(state, r"hidden_layer_list\.(\d+)\.weight"):
        norm = f"bn_layer_list.{number}"
        links.append(
            Link(
                state[f"hidden_layer_list.{number}.weight"],
                state.get(f"hidden_layer_list.{number}.bias"),
                _batch_norm(state, norm, _EPSILON)
                if is_biased
                else _bias_free_norm(state[f"{norm}.weight"], state[f"{norm}.running_var"].sqrt() + _EPSILON),
            )
        )
    links.append(Link(state["last_layer.weight"], state.get("last_layer.bias")))
    return build_state(links, network)


def kair(state: State, network: nn.Module) -> State:
    """Convert DnCNN, FDnCNN, FFDNet and IRCNN of KAIR, with separate or merged batch normalisation."""
    links: list[Link] = []
    layers = (re.fullmatch(rf"({_KAIR_LAYER})\.weight", name) for name in state)
    for layer in sorted((match[1] for match in layers if match), key=_numeric_key):
        weight = state[f"{layer}.weight"]
        if weight.ndim == 4:
            links.append(Link(weight, state.get(f"{layer}.bias")))
        elif links:
            links[-1] = Link(links[-1].weight, links[-1].bias, _batch_norm(state, layer, _KAIR_EPSILON))
    return build_state(links, network)


def _kair_output(network: nn.Module) -> Output:
    """Return ``residual`` for FDnCNN and FFDNet, whose layers estimate the image instead of the noise."""
    return "residual" if isinstance(network, Chain) and not network.blind else "image"


def _numeric_key(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _all_match(pattern: str) -> Callable[[Set[str]], bool]:
    """Return a predicate that checks whether all names match a pattern."""
    return lambda names: all(re.fullmatch(pattern, name) for name in names)


#: Key maps, tried in this order; each recognises its own names only.
KEY_MAPS = (
    KeyMap(
        "kadkhodaie-cnn",
        "BF_CNN and BF_CNN_RF of Kadkhodaie et al. 2024",
        _all_match(r"conv_layers\.\d+\.weight|BN_layers\.\d+\.(gammas|running_sd)"),
        kadkhodaie_cnn,
    ),
    KeyMap(
        "kadkhodaie-cnn-2021",
        "BF_CNN of Kadkhodaie & Simoncelli 2021",
        _all_match(r"conv_layers\.\d+\.weight|(gammas|running_sd)\.\d+"),
        kadkhodaie_cnn_2021,
    ),
    KeyMap(
        "kadkhodaie-unet",
        "UNet of Kadkhodaie et al. 2024",
        lambda names: "mid_block.0.weight" in names,
        kadkhodaie_unet,
        assumption="assumes that the network was trained with pool_window=2, which the file does not state",
    ),
    KeyMap(
        "mohan-dncnn",
        "DnCNN of Mohan et al. 2020",
        _all_match(
            r"(first_layer|last_layer|hidden_layer_list\.\d+)\.(weight|bias)"
            r"|bn_layer_list\.\d+\.(weight|bias|running_mean|running_var|num_batches_tracked)"
        ),
        mohan_dncnn,
    ),
    KeyMap(
        "kair",
        "DnCNN, FDnCNN, FFDNet and IRCNN of KAIR",
        _all_match(_KAIR_LAYER + r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"),
        kair,
        _kair_output,
        "model.",
    ),
)


def describe_keys(name: str) -> str:
    """Return a phrase that names the program of a key map, or an empty string for ``same``."""
    return next((f", named as those of {key_map.weights}" for key_map in KEY_MAPS if key_map.name == name), "")


def assumptions(name: str) -> tuple[str, ...]:
    """Return a note on what a key map assumes beyond the weights, if there is one."""
    return tuple(key_map.assumption for key_map in KEY_MAPS if key_map.name == name and key_map.assumption)


class Fit(NamedTuple):
    """A state dict that fits a network, the name of its key map, and the output of ``forward``."""

    state: State
    keys: str
    output: Output


def fit_weights(state: State, network: nn.Module, keys: Keys) -> Fit:
    """Convert weights to the state dict of a network, or raise ``ParameterError`` that says where they differ."""
    target = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith(_COUNTER)}
    variants = [
        {name: tensor for name, tensor in variant.items() if not name.endswith(_COUNTER)}
        for variant in remove_prefixes(state)
    ]
    nearest, key_map = _choose(variants, target, keys)
    name = "same" if key_map is None else key_map.name
    prefix = f"with its keys read as '{name}'{describe_keys(name)}"
    try:
        converted = nearest if key_map is None else key_map.convert(nearest, network)
    except ParameterError as error:
        raise ParameterError(f"{prefix}, {error}") from error
    except KeyError as error:
        raise ParameterError(f"{prefix}, it lacks {brief(error)}; it has {_list_shapes(nearest)}") from error
    except (ValueError, IndexError, RuntimeError) as error:
        # Names or shapes differ from the names or shapes in the published code.
        raise ParameterError(
            f"{prefix}, the weights cannot be converted: {brief(error)}; it has {_list_shapes(nearest)}"
        ) from error
    if differences := _differences(converted, target):
        raise ParameterError(f"{prefix}, {'; '.join(differences)}")
    counters = {name: tensor for name, tensor in network.state_dict().items() if name.endswith(_COUNTER)}
    converted |= {name: tensor.new_zeros((), device="cpu") for name, tensor in counters.items()}
    return Fit(converted, name, "image" if key_map is None else key_map.output(network))


def _choose(variants: list[State], target: State, keys: Keys) -> tuple[State, KeyMap | None]:
    """Return a variant and its key map, which is ``None`` if the variant has the keys of the network."""
    # The architecture may wrap the network that was saved.
    shared_prefix = _shared_prefix(target)
    wrapped = (
        [{shared_prefix + name: tensor for name, tensor in variant.items()} for variant in variants]
        if shared_prefix
        else []
    )
    nearest = min([*variants, *wrapped], key=lambda variant: len(variant.keys() ^ target.keys()))
    if keys == "same":
        return nearest, None
    maps = [key_map for key_map in KEY_MAPS if keys in ("auto", key_map.name)]
    match = next(
        ((variant, key_map) for variant in variants for key_map in maps if key_map.applies(variant.keys())), None
    )
    if match is not None and keys == "auto":
        # Published files may differ from the names of the network only by a prefix.
        prefix = match[1].prefix
        has_published_prefix = bool(prefix) and any(
            all(name.startswith(prefix) for name in variant) for variant in variants
        )
        is_wrapped = any(nearest is variant for variant in wrapped[1:])
        if nearest.keys() == target.keys() and not (has_published_prefix and is_wrapped):
            return nearest, None
    if match is None and keys != "auto":
        raise ParameterError(f"its keys are not those of '{keys}': {_list_shapes(variants[-1])}")
    return match or (nearest, None)


def _shared_prefix(target: State) -> str:
    """Return the first part of the names, with its dot, if all names share it, and otherwise an empty string."""
    parts = {name.partition(".")[0] for name in target}
    return f"{parts.pop()}." if len(parts) == 1 else ""


def _differences(state: State, target: State) -> list[str]:
    missing = {name: tensor for name, tensor in target.items() if name not in state}
    extra = {name: tensor for name, tensor in state.items() if name not in target}
    mismatched = [
        f"{brief(name)} has shape {tuple(tensor.shape)}, and {tuple(target[name].shape)} in the network"
        for name, tensor in state.items()
        if name in target and tensor.shape != target[name].shape
    ]
    messages = [f"it lacks {_list_shapes(missing)}"] if missing else []
    messages += [f"the network has no {_list_shapes(extra)}"] if extra else []
    messages += [", ".join(mismatched[:MAX_LISTED]) + _more(len(mismatched))] if mismatched else []
    return messages or _unusable(state, target)


def _unusable(state: State, target: State) -> list[str]:
    """Return messages on weights with a wrong data type, or with infinite or NaN values."""
    wrong_kinds = [
        f"{brief(name)} holds {str(tensor.dtype).removeprefix('torch.')}, and the network "
        f"{str(target[name].dtype).removeprefix('torch.')}"
        for name, tensor in state.items()
        if tensor.is_floating_point() != target[name].is_floating_point()
    ]
    not_finite = [
        f"{brief(name)} holds numbers that are infinite or NaN"
        for name, tensor in state.items()
        if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]
    return [", ".join(faults[:MAX_LISTED]) + _more(len(faults)) for faults in (wrong_kinds, not_finite) if faults]


def _list_shapes(state: State) -> str:
    return ", ".join(
        f"{brief(name)} {tuple(tensor.shape)}" for name, tensor in list(state.items())[:MAX_LISTED]
    ) + _more(len(state))


def _more(count: int) -> str:
    return f" and {count - MAX_LISTED} more" if count > MAX_LISTED else ""
