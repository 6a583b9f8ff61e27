"""Load state dicts from files of weights, without running any code in them."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from gahbench import ParameterError
from gahbench._util.readable import brief

from ..._torch_files import check_weights_file, find_fault, load_torch

State = dict[str, Tensor]

#: Keys under which programs save a state dict, in order of preference: averaged weights come first.
WRAPPERS = ("params_ema", "ema", "state_dict", "model_state_dict", "model", "params", "network", "net")
#: Prefixes that wrappers such as DataParallel and torch.compile add to names.
PREFIXES = ("module.", "_orig_mod.", "model.")
#: Largest depth of nested containers that is searched.
MAX_DEPTH = 4
#: Largest number of keys in an error message or a note.
MAX_LISTED = 8
#: Name of the tensors at the top level of a file.
TOP = "."

_ACCEPTED = (
    "accepted: safetensors, or a torch file of tensors in dictionaries, lists and tuples, with argparse.Namespace as "
    "the only other class"
)


class Part(NamedTuple):
    """A state dict in a file, its name, and the names of the other state dicts in the file."""

    state: State
    name: str
    others: tuple[str, ...]


def read_part(path: Path, part: str | None = None) -> Part:
    """Read a state dict from a safetensors or torch file, by name or in order of preference."""
    try:
        check_weights_file(path)
    except FileNotFoundError as error:
        raise ParameterError(f"{path}: no such file; {_ACCEPTED}") from error
    except Exception as error:
        raise ParameterError(f"{path}: cannot be read: {brief(error)}; {_ACCEPTED}") from error
    content = _load_safetensors(path) if _is_safetensors(path) else _load_torch_file(path)
    try:
        parts = dict(itertools.islice(_parts(content, MAX_DEPTH), MAX_LISTED + 1))
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}; {_ACCEPTED}") from error
    if not parts:
        raise ParameterError(f"{path}: no weights found in {_describe(content)}; {_ACCEPTED}")
    name = next(iter(parts)) if part is None else part
    if name not in parts:
        raise ParameterError(f"{path}: part={brief(name)}: not in this file; accepted: {', '.join(parts)}")
    state = parts[name]
    for key, tensor in state.items():
        if (problem := find_fault(tensor)) is not None:
            raise ParameterError(f"{path}: {brief(key)} {problem}; accepted: plain tensors of real numbers")
    try:
        converted = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
        return Part(converted, name, tuple(other for other in parts if other != name))
    except RuntimeError as error:
        raise ParameterError(
            f"{path}: the data type of a tensor cannot be converted to float32: {brief(error)}"
        ) from error


def remove_prefixes(state: State) -> Iterator[State]:
    """Yield a state dict, then the state dict after each removal of a prefix that all of its names share."""
    yield state
    for _ in range(len(PREFIXES) if state else 0):
        prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in state)), None)
        if prefix is None:
            return
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        yield state


def _is_safetensors(path: Path) -> bool:
    """Return whether a file is in safetensors format, by its content (a JSON object after 8 bytes) or its name."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{" or path.suffix.lower() == ".safetensors"


def _load_safetensors(path: Path) -> State:
    from safetensors.torch import load_file

    try:
        state: State = load_file(path)
    except Exception as error:
        # On damaged files safetensors raises many kinds of exceptions.
        raise ParameterError(f"{path}: cannot be read as safetensors: {brief(error)}; {_ACCEPTED}") from error
    return state


def _load_torch_file(path: Path) -> Any:
    try:
        return load_torch(path, [argparse.Namespace])
    except ValueError as error:
        raise ParameterError(
            f"{path}: cannot be read without running code: {error}; {_ACCEPTED}; save only the state_dict()"
        ) from error


def _parts(content: Any, depth: int, name: str = "") -> Iterator[tuple[str, State]]:
    """Yield the state dicts under the usual keys of a mapping, then its tensors.

    A list yields the state dicts of its first item that has any.
    """
    if depth == 0:
        return
    if isinstance(content, Mapping):
        is_wrapper = False
        for key in WRAPPERS:
            if key in content:
                for part in _parts(content[key], depth - 1, f"{name}.{key}" if name else key):
                    is_wrapper = True
                    yield part
        # Vectors and scalars next to state dicts may be losses or noise levels instead of weights.
        if not is_wrapper or any(isinstance(value, Tensor) and value.dim() > 1 for value in content.values()):
            tensors = [(str(key), value) for key, value in content.items() if isinstance(value, Tensor)]
            tensors += [] if is_wrapper else _numbered_networks(content, depth)
            if len(state := dict(tensors)) < len(tensors):
                raise ParameterError("two weights have the same name")
            if state:
                yield name or TOP, state
    elif isinstance(content, list | tuple):
        parts_of_items = (list(_parts(item, depth - 1, name)) for item in content)
        yield from next(filter(None, parts_of_items), [])


def _numbered_networks(content: Mapping[Any, Any], depth: int) -> list[tuple[str, Tensor]]:
    """Return the weights of numbered networks in a file, with the network number as prefix of their names."""
    if not all(str(key).isdecimal() and isinstance(value, Mapping) for key, value in content.items()):
        return []
    return [
        (f"{key}.{name}", tensor)
        for key, value in content.items()
        for name, tensor in next(_parts(value, depth - 1), ("", State()))[1].items()
    ]


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        keys = [f"{brief(key)} ({type(value).__name__})" for key, value in content.items()]
        more = f" and {len(keys) - MAX_LISTED} more" if len(keys) > MAX_LISTED else ""
        return f"its keys {', '.join(keys[:MAX_LISTED])}{more}"
    return f"its {type(content).__name__}"
