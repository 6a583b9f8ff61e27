"""State dicts of published code, written into the architectures here, or an error that says where they do not fit."""

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
from .reading import State, without_prefixes

Keys = Literal["auto", "same", "kadkhodaie-cnn", "kadkhodaie-cnn-2021", "kadkhodaie-unet", "mohan-dncnn", "kair"]

#: How many differing keys of each kind an error names.
SHOWN = 3
#: Counts batches in training, and matters to nothing here; old files lack it.
_COUNTER = "num_batches_tracked"
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
class Link:
    """A convolution, and the weights of the normalisation after it, by their names in the architectures here.

    The variance of a batch normalisation includes the epsilon of the published code.
    """

    weight: Tensor
    bias: Tensor | None = None
    norm: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass
class _Target:
    """A convolution of a network, and the normalisation after it, with their names."""

    name: str
    convolution: nn.Conv2d
    norm_name: str = ""
    norm: nn.BatchNorm2d | BiasFreeNorm | None = None


def written(links: Sequence[Link], network: nn.Module) -> State:
    """Return the state dict that makes a network compute what a published chain computes in evaluation."""
    targets = _targets(network)
    if len(targets) != len(links):
        raise ParameterError(f"it has {len(links)} convolutions, and the network {len(targets)}")
    state: State = {}
    for number, (link, target) in enumerate(zip(links, targets, strict=True), start=1):
        state[f"{target.name}.weight"] = link.weight
        bias, norm = link.bias, dict(link.norm)
        kind, wanted = _kind(norm), _kind(target.norm.state_dict() if target.norm else ())
        if kind != wanted:
            raise ParameterError(f"after convolution {number} it has {kind}, and the network {wanted}")
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
    """Return the kind of a normalisation with weights of some names."""
    if "running_deviation" in names:
        return "bias-free normalisation"
    return "batch normalisation" if "running_var" in names else "no normalisation"


def _bias_free(gain: Tensor, deviation: Tensor) -> State:
    return {"gain": gain, "running_deviation": deviation}


def _batch(state: State, name: str, epsilon: float) -> State:
    found = {part: state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")}
    return {**found, "running_var": found["running_var"] + epsilon}


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
        number + 1: _bias_free(state[gain.format(number)].flatten(), state[deviation.format(number)].flatten())
        for number in _numbered(state, gain.replace(".", r"\.").format(r"(\d+)"))
    }
    return [
        Link(state[f"conv_layers.{number}.weight"], norm=norms.get(number, {}))
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
                else _bias_free(state[f"{norm}.weight"], state[f"{norm}.running_var"].sqrt() + _EPSILON),
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


class Fit(NamedTuple):
    """The state dict that a network takes, the name of the key map that made it, and the output of ``forward``."""

    state: State
    keys: str
    output: Output


def fitted(state: State, network: nn.Module, keys: Keys) -> Fit:
    """Return weights as a network takes them."""
    target = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith(_COUNTER)}
    variants = [
        {name: tensor for name, tensor in variant.items() if not name.endswith(_COUNTER)}
        for variant in without_prefixes(state)
    ]
    found, key_map = _chosen(variants, target, keys)
    name = "same" if key_map is None else key_map.name
    read = f"with its keys read as '{name}'{why(name)}"
    try:
        converted = found if key_map is None else key_map.convert(found, network)
    except ParameterError as error:
        raise ParameterError(f"{read}, {error}") from error
    except KeyError as error:
        raise ParameterError(f"{read}, it lacks {brief(error)}; it has {_some(found)}") from error
    except (ValueError, IndexError, RuntimeError) as error:
        # Names or shapes such as the published code has none.
        raise ParameterError(f"{read}, they cannot be converted: {brief(error)}; it has {_some(found)}") from error
    if differences := _differences(converted, target):
        raise ParameterError(f"{read}, {'; '.join(differences)}")
    counters = {name: tensor for name, tensor in network.state_dict().items() if name.endswith(_COUNTER)}
    converted |= {name: tensor.new_zeros((), device="cpu") for name, tensor in counters.items()}
    return Fit(converted, name, "image" if key_map is None else key_map.output(network))


def _chosen(variants: list[State], target: State, keys: Keys) -> tuple[State, KeyMap | None]:
    """Return the variant, and the map for it; none where the keys are the network's own."""
    # An architecture may be a wrapper around the network that was saved.
    part = _shared_part(target)
    wrapped = [{part + name: tensor for name, tensor in variant.items()} for variant in variants] if part else []
    nearest = min([*variants, *wrapped], key=lambda variant: len(variant.keys() ^ target.keys()))
    if keys == "same":
        return nearest, None
    maps = [key_map for key_map in KEY_MAPS if keys in ("auto", key_map.name)]
    found = next(
        ((variant, key_map) for variant in variants for key_map in maps if key_map.applies(variant.keys())), None
    )
    if found is not None and keys == "auto":
        # Published files may have the names of the network itself, but for the prefix.
        prefix = found[1].prefix
        published = bool(prefix) and any(all(name.startswith(prefix) for name in variant) for variant in variants)
        replaced = any(nearest is variant for variant in wrapped[1:])
        if nearest.keys() == target.keys() and not (published and replaced):
            return nearest, None
    if found is None and keys != "auto":
        raise ParameterError(f"its keys are not those of '{keys}': {_some(variants[-1])}")
    return found or (nearest, None)


def _shared_part(target: State) -> str:
    """Return the first part of names, with its dot, if it is the same for all; otherwise an empty text."""
    parts = {name.partition(".")[0] for name in target}
    return f"{parts.pop()}." if len(parts) == 1 else ""


def _differences(found: State, target: State) -> list[str]:
    lacking = {name: tensor for name, tensor in target.items() if name not in found}
    extra = {name: tensor for name, tensor in found.items() if name not in target}
    other = [
        f"{brief(name)} has shape {tuple(tensor.shape)}, and {tuple(target[name].shape)} in the network"
        for name, tensor in found.items()
        if name in target and tensor.shape != target[name].shape
    ]
    said = [f"it lacks {_some(lacking)}"] if lacking else []
    said += [f"the network has no {_some(extra)}"] if extra else []
    said += [", ".join(other[:SHOWN]) + _more(len(other))] if other else []
    return said or _unusable(found, target)


def _unusable(found: State, target: State) -> list[str]:
    """Return which weights are no numbers that the network could have, though their names and shapes fit."""
    kinds = [
        f"{brief(name)} holds {str(tensor.dtype).removeprefix('torch.')}, and the network "
        f"{str(target[name].dtype).removeprefix('torch.')}"
        for name, tensor in found.items()
        if tensor.is_floating_point() != target[name].is_floating_point()
    ]
    wild = [
        f"{brief(name)} holds numbers that are infinite or NaN"
        for name, tensor in found.items()
        if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]
    return [", ".join(some[:SHOWN]) + _more(len(some)) for some in (kinds, wild) if some]


def _some(state: State) -> str:
    return ", ".join(f"{brief(name)} {tuple(tensor.shape)}" for name, tensor in list(state.items())[:SHOWN]) + _more(
        len(state)
    )


def _more(count: int) -> str:
    return f" and {count - SHOWN} more" if count > SHOWN else ""
