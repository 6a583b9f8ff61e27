"""The state dict in a file of weights, read without running anything that is in it."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gahbench import ParameterError, listing

State = dict[str, Tensor]

#: Keys under which programs keep a state dict, the one to prefer first: averaged weights are those to be used.
WRAPPERS = (
    "params_ema",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "params",
    "network",
    "net",
)
#: Prefixes of wrappers such as DataParallel and torch.compile.
PREFIXES = ("module.", "_orig_mod.", "model.")
#: Depth of nesting that is searched.
DEPTH = 4
#: How many keys an error names.
SHOWN = 8

_ACCEPTED = (
    "accepted: safetensors, or a torch file of tensors in dictionaries, lists and tuples, with argparse.Namespace as "
    "the only other class"
)


def read_state(path: Path) -> State:
    """Read the state dict of a safetensors or torch file.

    It may be nested under the usual keys (``state_dict``, ``model``, ``params_ema``, ...) and in lists. Only plain
    containers, tensors and ``argparse.Namespace`` are unpickled. Floating-point tensors become float32.

    Raises
    ------
    ParameterError
        If there is no such file, or no state dict in it; names its content, and what is accepted.
    """
    if not path.is_file():
        raise ParameterError(f"{path}: no such file; {_ACCEPTED}")
    content = _safetensors(path) if _is_safetensors(path) else _unpickled(path)
    state = _find(content, DEPTH)
    if state is None:
        raise ParameterError(f"{path}: no weights found in {_described(content)}; {_ACCEPTED}")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def without_prefixes(state: State) -> Iterator[State]:
    """Yield a state dict as it is, and then with one after the other of the prefixes that all of its names share."""
    yield state
    while state and (prefix := next((some for some in PREFIXES if all(name.startswith(some) for name in state)), None)):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        yield state


def _is_safetensors(path: Path) -> bool:
    """Recognize safetensors by the content: eight bytes of length, and then a JSON object."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: State = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ParameterError(f"{path}: cannot be read as safetensors: {error}; {_ACCEPTED}") from error
    return state


def _unpickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            # Of old formats, and of pickles of another kind, which are refused anyway.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, ValueError, RuntimeError, KeyError, IndexError, pickle.UnpicklingError) as error:
        raise ParameterError(
            f"{path}: cannot be read without running its content: {_reason(error)}; {_ACCEPTED}; "
            "save its state_dict() alone"
        ) from error


def _reason(error: Exception) -> str:
    """Return the part of torch's long messages that names the error."""
    text = str(error)
    if named := re.search(r"GLOBAL (\S+)", text):
        return f"it holds {named[1]}"
    if "WeightsUnpickler error" in text:
        return "it is a pickle of another kind"
    return text.partition("\n")[0] or type(error).__name__


def _find(content: Any, depth: int) -> State | None:
    """Return the first state dict: under the usual keys, in a list, or the tensors of a mapping itself."""
    if depth == 0:
        return None
    if isinstance(content, Mapping):
        for key in WRAPPERS:
            if key in content and (found := _find(content[key], depth - 1)) is not None:
                return found
        return {str(key): value for key, value in content.items() if isinstance(value, Tensor)} or None
    if isinstance(content, list | tuple):
        return next((found for item in content if (found := _find(item, depth - 1)) is not None), None)
    return None


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        kinds = [f"{key} ({type(value).__name__})" for key, value in content.items()]
        more = f" and {len(kinds) - SHOWN} more" if len(kinds) > SHOWN else ""
        return f"its keys {listing(kinds[:SHOWN])}{more}"
    return f"its {type(content).__name__}"
