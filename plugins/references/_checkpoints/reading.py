"""The state dict in a file of weights, read without running anything that is in it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gahbench import ParameterError, brief, listing

from ..._torch_files import check_weights_file, fault, load_torch

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
    try:
        check_weights_file(path)
    except FileNotFoundError as error:
        raise ParameterError(f"{path}: no such file; {_ACCEPTED}") from error
    except Exception as error:
        raise ParameterError(f"{path}: cannot be read: {brief(error)}; {_ACCEPTED}") from error
    content = _safetensors(path) if _is_safetensors(path) else _unpickled(path)
    try:
        state = _find(content, DEPTH)
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}; {_ACCEPTED}") from error
    if state is None:
        raise ParameterError(f"{path}: no weights found in {_described(content)}; {_ACCEPTED}")
    for name, tensor in state.items():
        if (why := fault(tensor)) is not None:
            raise ParameterError(f"{path}: {brief(name)} {why}; accepted: plain tensors of real numbers")
    try:
        return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    except RuntimeError as error:
        raise ParameterError(f"{path}: numbers of a type that does not convert to float32: {brief(error)}") from error


def without_prefixes(state: State) -> Iterator[State]:
    """Yield a state dict as it is, and then with one after the other of the prefixes that all of its names share."""
    yield state
    for _ in range(len(PREFIXES) if state else 0):
        prefix = next((some for some in PREFIXES if all(name.startswith(some) for name in state)), None)
        if prefix is None:
            return
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        yield state


def _is_safetensors(path: Path) -> bool:
    """Recognize safetensors by the content: eight bytes of length, and then a JSON object; or else by the name."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{" or path.suffix.lower() == ".safetensors"


def _safetensors(path: Path) -> State:
    from safetensors.torch import load_file

    try:
        state: State = load_file(path)
    except Exception as error:
        # Damaged files make it raise all kinds.
        raise ParameterError(f"{path}: cannot be read as safetensors: {brief(error)}; {_ACCEPTED}") from error
    return state


def _unpickled(path: Path) -> Any:
    try:
        return load_torch(path, [argparse.Namespace])
    except ValueError as error:
        raise ParameterError(
            f"{path}: cannot be read without running its content: {error}; {_ACCEPTED}; save its state_dict() alone"
        ) from error


def _find(content: Any, depth: int) -> State | None:
    """Return the first state dict: under the usual keys, in a list, or the tensors of a mapping itself."""
    if depth == 0:
        return None
    if isinstance(content, Mapping):
        for key in WRAPPERS:
            if key in content and (found := _find(content[key], depth - 1)) is not None:
                return found
        named = [(str(key), value) for key, value in content.items() if isinstance(value, Tensor)]
        named += _numbered(content, depth)
        state = dict(named)
        if len(state) < len(named):
            raise ParameterError("two of its weights have the same name")
        return state or None
    if isinstance(content, list | tuple):
        return next((found for item in content if (found := _find(item, depth - 1)) is not None), None)
    return None


def _numbered(content: Mapping[Any, Any], depth: int) -> list[tuple[str, Tensor]]:
    """Return the weights of several networks in one file, whose keys are their numbers: each named by its own first."""
    if not all(str(key).isdecimal() and isinstance(value, Mapping) for key, value in content.items()):
        return []
    return [
        (f"{key}.{name}", tensor)
        for key, value in content.items()
        for name, tensor in (_find(value, depth - 1) or {}).items()
    ]


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        kinds = [f"{brief(key)} ({type(value).__name__})" for key, value in content.items()]
        more = f" and {len(kinds) - SHOWN} more" if len(kinds) > SHOWN else ""
        return f"its keys {listing(kinds[:SHOWN])}{more}"
    return f"its {type(content).__name__}"
