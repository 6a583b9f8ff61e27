"""The state dict in a file of weights, read without running anything that is in it."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from gahbench import ParameterError
from gahbench._util.readable import brief

from ..._torch_files import check_weights_file, fault, load_torch

State = dict[str, Tensor]

#: Keys under which programs keep a state dict, the one to prefer first: averaged weights are those to be used.
WRAPPERS = ("params_ema", "ema", "state_dict", "model_state_dict", "model", "params", "network", "net")
#: Prefixes of wrappers such as DataParallel and torch.compile.
PREFIXES = ("module.", "_orig_mod.", "model.")
#: Depth of nesting that is searched.
DEPTH = 4
#: How many keys an error or a note names.
SHOWN = 8
#: The name of the weights beside those under the usual keys.
TOP = "."

_ACCEPTED = (
    "accepted: safetensors, or a torch file of tensors in dictionaries, lists and tuples, with argparse.Namespace as "
    "the only other class"
)


class Part(NamedTuple):
    """A state dict in a file, its name there, and the names of the others."""

    state: State
    name: str
    others: tuple[str, ...]


def read_part(path: Path, part: str | None = None) -> Part:
    """Read the state dict of a name in a safetensors or torch file; by default the preferred state dict."""
    try:
        check_weights_file(path)
    except FileNotFoundError as error:
        raise ParameterError(f"{path}: no such file; {_ACCEPTED}") from error
    except Exception as error:
        raise ParameterError(f"{path}: cannot be read: {brief(error)}; {_ACCEPTED}") from error
    content = _safetensors(path) if _is_safetensors(path) else _unpickled(path)
    try:
        found = dict(itertools.islice(_parts(content, DEPTH), SHOWN + 1))
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}; {_ACCEPTED}") from error
    if not found:
        raise ParameterError(f"{path}: no weights found in {_described(content)}; {_ACCEPTED}")
    name = next(iter(found)) if part is None else part
    if name not in found:
        raise ParameterError(f"{path}: part={brief(name)}: not in this file; accepted: {', '.join(found)}")
    state = found[name]
    for key, tensor in state.items():
        if (why := fault(tensor)) is not None:
            raise ParameterError(f"{path}: {brief(key)} {why}; accepted: plain tensors of real numbers")
    try:
        converted = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
        return Part(converted, name, tuple(other for other in found if other != name))
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


def _parts(content: Any, depth: int, name: str = "") -> Iterator[tuple[str, State]]:
    """Yield the state dicts under the usual keys of a mapping, then its own tensors; of a list, those of one item."""
    if depth == 0:
        return
    if isinstance(content, Mapping):
        is_wrapper = False
        for key in WRAPPERS:
            if key in content:
                for found in _parts(content[key], depth - 1, f"{name}.{key}" if name else key):
                    is_wrapper = True
                    yield found
        # What stands beside state dicts may be a loss, or levels of noise.
        if not is_wrapper or any(isinstance(value, Tensor) and value.dim() > 1 for value in content.values()):
            named = [(str(key), value) for key, value in content.items() if isinstance(value, Tensor)]
            named += [] if is_wrapper else _numbered(content, depth)
            if len(state := dict(named)) < len(named):
                raise ParameterError("two of its weights have the same name")
            if state:
                yield name or TOP, state
    elif isinstance(content, list | tuple):
        several = (list(_parts(item, depth - 1, name)) for item in content)
        yield from next(filter(None, several), [])


def _numbered(content: Mapping[Any, Any], depth: int) -> list[tuple[str, Tensor]]:
    """Return the weights of several networks in one file, whose keys are their numbers: each named by its own first."""
    if not all(str(key).isdecimal() and isinstance(value, Mapping) for key, value in content.items()):
        return []
    return [
        (f"{key}.{name}", tensor)
        for key, value in content.items()
        for name, tensor in next(_parts(value, depth - 1), ("", State()))[1].items()
    ]


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        kinds = [f"{brief(key)} ({type(value).__name__})" for key, value in content.items()]
        more = f" and {len(kinds) - SHOWN} more" if len(kinds) > SHOWN else ""
        return f"its keys {', '.join(kinds[:SHOWN])}{more}"
    return f"its {type(content).__name__}"
