"""Weights of published programs, converted to the architectures of gahbench."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor, nn

from gahbench import ParameterError
from gahbench_plugins.references.weights import State, brief, remove_prefixes

Keys = Literal["auto", "same", "kadkhodaie-cnn", "kadkhodaie-cnn-2021", "kadkhodaie-unet", "mohan-dncnn", "kair"]
#: Output of ``forward``: the denoised image, or the noise.
Output = Literal["image", "residual"]

#: Epsilon of batch normalisation in published code: the default of torch, and the value of KAIR.
EPSILON = 1e-5
KAIR_EPSILON = 1e-4
#: Names in gahbench of the middle block of the published UNet, and of the weights of its normalisation.
UNET_NAMES = {"mid_block": "middle", "running_sd": "running_deviation", "gammas": "gain"}
#: Suffix of batch counters of batch normalisation, which have no effect in evaluation; old files lack them.
COUNTER = "num_batches_tracked"
#: Largest number of characters of an error message of torch that is shown.
MAX_MESSAGE = 500


class Layer(NamedTuple):
    """A published convolution, and the weights of the normalisation after it by their names in gahbench.

    The variance of a batch normalisation includes the epsilon of the published code.
    """

    kernel: Tensor
    bias: Tensor | None = None
    norm: State | None = None


def load_weights(network: nn.Module, state: State, keys: Keys) -> tuple[str, Output, str]:
    """Load weights into a network, and return their naming scheme, the output of ``forward``, and their prefix.

    Raises
    ------
    ParameterError
        If the names of the weights are not of the naming scheme, or the weights do not fit the network.
    """
    variants = [
        {name: tensor for name, tensor in variant.items() if not name.endswith(COUNTER)}
        for variant in remove_prefixes(state)
    ]
    variant, name = _recognise(variants, {n for n in network.state_dict() if not n.endswith(COUNTER)}, keys)
    try:
        converted = variant if name == "same" else PROGRAMS[name][2](variant, network)
        counters = {key: value for key, value in network.state_dict().items() if key.endswith(COUNTER)}
        network.load_state_dict(counters | converted)
    except (KeyError, ValueError, IndexError, RuntimeError) as error:
        # Names or shapes differ from the names or shapes in the published code.
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ParameterError(f"with its keys read as {describe(name)}: {brief(reason, MAX_MESSAGE)}") from error
    # The layers of FDnCNN and FFDNet of KAIR estimate the image, which their architectures subtract.
    estimates_image = name == "kair" and not getattr(network, "blind", True)
    whole, short = (min(names, default="") for names in (variants[0], variant))
    prefix = whole.removesuffix(short) if whole.endswith(short) else ""
    return name, "residual" if estimates_image else "image", prefix


def describe(keys: str) -> str:
    """Return the name of a naming scheme, and its program."""
    return f"{keys}, named as those of {PROGRAMS[keys][0]}" if keys in PROGRAMS else keys


def _recognise(variants: list[State], target: set[str], keys: Keys) -> tuple[State, str]:
    """Return the variant of a state dict that fits the names of a network, and the name of its naming scheme."""
    # The architecture may wrap the network that was saved.
    first, *others = {name.partition(".")[0] for name in target} or {""}
    wrapped = [] if others else [{f"{first}.{name}": tensor for name, tensor in part.items()} for part in variants]
    nearest = min([*variants, *wrapped], key=lambda variant: len(variant.keys() ^ target))
    # Files of KAIR may differ from the names of the network only by the prefix of a wrapper.
    is_from_kair = any(all(name.startswith("model.") for name in variant) for variant in variants)
    fits = nearest.keys() == target and not (is_from_kair and any(nearest is part for part in wrapped))
    if keys == "same" or (keys == "auto" and fits):
        return nearest, "same"
    for variant, (name, (_, pattern, _)) in itertools.product(variants, PROGRAMS.items()):
        if keys in ("auto", name) and all(re.fullmatch(pattern, weight) for weight in variant):
            return variant, name
    if keys != "auto":
        raise ParameterError(f"its keys are not those of '{keys}': {brief(', '.join(variants[0]))}")
    return nearest, "same"


def _assemble(layers: list[Layer], network: nn.Module) -> State:
    """Return the state dict with which a network equals a published chain of convolutions in evaluation mode."""
    convolutions: list[tuple[str, nn.Conv2d]] = []
    norms: dict[int, tuple[str, nn.Module]] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            convolutions.append((name, module))
        elif {"running_var", "running_deviation"} & dict(module.named_buffers(recurse=False)).keys():
            norms[len(convolutions) - 1] = name, module
    if len(convolutions) != len(layers):
        raise ValueError(f"the file has {len(layers)} convolutions, and the network {len(convolutions)}")
    state: State = {}
    for number, (layer, (name, convolution)) in enumerate(zip(layers, convolutions, strict=True)):
        bias, values = layer.bias, dict(layer.norm or {})
        norm_name, norm = norms.get(number, (f"{name}.norm", None))
        if isinstance(norm, nn.BatchNorm2d) and "running_var" in values:
            values["running_var"] = values["running_var"] - norm.eps
            if bias is not None and convolution.bias is None:
                values["running_mean"], bias = values["running_mean"] - bias, None
        weights = {f"{name}.weight": layer.kernel, **({} if bias is None else {f"{name}.bias": bias})}
        state |= weights | {f"{norm_name}.{part}": tensor for part, tensor in values.items()}
    return state


def _numbers(state: State, pattern: str) -> list[int]:
    """Return the numbers matched by a pattern in the names, in ascending order."""
    return sorted({int(match[1]) for match in (re.fullmatch(pattern, name) for name in state) if match})


def _batch_norm(state: State, name: str, epsilon: float) -> State:
    norm = {part: state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")}
    return {**norm, "running_var": norm["running_var"] + epsilon}


def _bias_free(gain: Tensor, deviation: Tensor) -> State:
    return {"gain": gain.flatten(), "running_deviation": deviation.flatten()}


def _bias_free_layers(state: State, gain: str, deviation: str) -> list[Layer]:
    """Return the layers of a chain, given the names of gains and deviations with {} for a number."""
    norms = {
        number + 1: _bias_free(state[gain.format(number)], state[deviation.format(number)])
        for number in _numbers(state, re.escape(gain).replace(r"\{\}", r"(\d+)"))
    }
    numbers = _numbers(state, r"conv_layers\.(\d+)\.weight")
    return [Layer(state[f"conv_layers.{number}.weight"], norm=norms.get(number)) for number in numbers]


def _kadkhodaie_cnn(state: State, network: nn.Module) -> State:
    return _assemble(_bias_free_layers(state, "BN_layers.{}.gammas", "BN_layers.{}.running_sd"), network)


def _kadkhodaie_cnn_2021(state: State, network: nn.Module) -> State:
    leaves = [module for module in network.modules() if not any(module.children())]
    if [type(leaf) for leaf in leaves[:2]] != [nn.Conv2d, nn.ReLU]:
        raise ValueError("a ReLU follows the first convolution of the published network, as in bf-cnn, but not here")
    return _assemble(_bias_free_layers(state, "gammas.{}", "running_sd.{}"), network)


def _kadkhodaie_unet(state: State, network: nn.Module) -> State:
    levels = len(_numbers(state, r"encoder\.(\d+)\..*"))
    converted: State = {}
    for name, tensor in state.items():
        block, *rest = name.split(".")
        if block in ("decoder", "upsample"):
            rest[0] = str(levels - 1 - int(rest[0]))
        if rest[-1] in UNET_NAMES:
            tensor = tensor.flatten()
        converted[".".join(UNET_NAMES.get(part, part) for part in (block, *rest))] = tensor
    return converted


def _mohan_dncnn(state: State, network: nn.Module) -> State:
    def layer(name: str, norm: str = "") -> Layer:
        kernel, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
        if not norm:
            return Layer(kernel, bias)
        if "first_layer.bias" in state:
            return Layer(kernel, bias, _batch_norm(state, norm, EPSILON))
        # The files contain biases and means of the normalisation, which the published layer does not use.
        return Layer(kernel, bias, _bias_free(state[f"{norm}.weight"], state[f"{norm}.running_var"].sqrt() + EPSILON))

    numbers = _numbers(state, r"hidden_layer_list\.(\d+)\.weight")
    hidden = [layer(f"hidden_layer_list.{number}", f"bn_layer_list.{number}") for number in numbers]
    return _assemble([layer("first_layer"), *hidden, layer("last_layer")], network)


def _kair(state: State, network: nn.Module) -> State:
    """Convert chains with separate or merged batch normalisation."""
    layers: list[Layer] = []
    names = {name.rpartition(".")[0] for name in state}
    for name in sorted(names, key=int):
        weight = state[f"{name}.weight"]
        if weight.ndim == 4:
            layers.append(Layer(weight, state.get(f"{name}.bias")))
        else:
            layers[-1] = layers[-1]._replace(norm=_batch_norm(state, name, KAIR_EPSILON))
    return _assemble(layers, network)


_BATCH_NORM = r"\.(weight|bias|running_mean|running_var)"
#: The networks of published programs, a regular expression that matches all names of their weights after prefixes of
#: wrappers are removed, and the conversion. Programs are tried in this order; each recognises its own names only.
PROGRAMS: dict[str, tuple[str, str, Callable[[State, nn.Module], State]]] = {
    "kadkhodaie-cnn": (
        "BF_CNN and BF_CNN_RF of Kadkhodaie et al. 2024",
        r"conv_layers\.\d+\.weight|BN_layers\.\d+\.(gammas|running_sd)",
        _kadkhodaie_cnn,
    ),
    "kadkhodaie-cnn-2021": (
        "BF_CNN of Kadkhodaie & Simoncelli 2021",
        r"conv_layers\.\d+\.weight|(gammas|running_sd)\.\d+",
        _kadkhodaie_cnn_2021,
    ),
    "kadkhodaie-unet": (
        "UNet of Kadkhodaie et al. 2024",
        r"(mid_block|upsample|(encoder|decoder)\.\d+)\.\d+\.(weight|gammas|running_sd)",
        _kadkhodaie_unet,
    ),
    "mohan-dncnn": (
        "DnCNN of Mohan et al. 2020",
        r"(first_layer|last_layer|hidden_layer_list\.\d+)\.(weight|bias)|bn_layer_list\.\d+" + _BATCH_NORM,
        _mohan_dncnn,
    ),
    "kair": ("DnCNN, FDnCNN and FFDNet of KAIR", r"\d+" + _BATCH_NORM, _kair),
}
