"""A state dict made to fit a network, or an error that says where it does not."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import nn

from gahbench import ParameterError
from gahbench._util.readable import brief

from .key_maps import KEY_MAPS, KeyMap, Output, why
from .reading import State, without_prefixes

Keys = Literal["auto", "same", "kadkhodaie-cnn", "kadkhodaie-cnn-2021", "kadkhodaie-unet", "mohan-dncnn", "kair"]

#: How many differing keys of each kind an error names.
SHOWN = 3
#: Counts batches in training, and matters to nothing here; old files lack it.
_COUNTER = "num_batches_tracked"


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
