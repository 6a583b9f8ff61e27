"""State dicts in files of weights, which are read without running any code in them."""

from __future__ import annotations

import argparse
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gahbench import ParameterError

State = dict[str, Tensor]

#: Keys under which programs save a state dict, in order of preference: averaged weights come first.
WRAPPERS = ("params_ema", "ema", "state_dict", "model_state_dict", "model", "params", "network", "net")
#: Largest number of prefixes that names share, largest depth of nested containers, and largest size of a file in bytes.
MAX_PREFIXES, MAX_DEPTH, MAX_BYTES = 3, 4, 1 << 32
ACCEPTED = (
    "accepted: safetensors, or a torch file of tensors in dictionaries, lists and tuples, with argparse.Namespace as "
    "the only other class, such as a state_dict()"
)


def read_state(path: Path) -> tuple[State, str]:
    """Read a state dict in float32, and return it and its name, or an empty name if the file has no other.

    Raises
    ------
    ParameterError
        If the file is no safetensors or torch file of weights, or holds values that are not finite.
    """
    try:
        content = _load(path)
        parts = dict(_parts(content, MAX_DEPTH))
    except Exception as error:
        # On damaged files the libraries raise many kinds of exceptions.
        raise ParameterError(f"{path}: cannot be read: {_reason(error)}; {ACCEPTED}") from error
    if not parts:
        keys = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise ParameterError(f"{path}: no weights found in {brief(keys)}; {ACCEPTED}")
    name, tensors = next(iter(parts.items()))
    state = {}
    for key, tensor in tensors.items():
        if not _is_plain(tensor):
            raise ParameterError(f"{path}: {brief(key)} is not a plain tensor of real numbers in the file")
        state[key] = tensor.float() if tensor.is_floating_point() else tensor
        if not state[key].isfinite().all():
            raise ParameterError(f"{path}: {brief(key)} holds numbers that are infinite or NaN; accepted: finite ones")
    return state, name if len(parts) > 1 else ""


def remove_prefixes(state: State) -> Iterator[State]:
    """Yield a state dict, then the state dict after each removal of a prefix, up to a dot, that all its names share."""
    yield state
    for _ in range(MAX_PREFIXES):
        parts = {name: name.partition(".") for name in state}
        if len({first for first, _, _ in parts.values()}) != 1 or not all(dot for _, dot, _ in parts.values()):
            return
        state = {parts[name][2]: tensor for name, tensor in state.items()}
        yield state


def brief(text: object, longest: int = 200) -> str:
    """Return text from a file or a library as a short, printable line: its beginning and its end."""
    line = " ".join(str(text)[: 1 << 16].split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= longest else f"{line[: longest // 2]} … {line[-longest // 2 :]}"


def check_weights_file(path: Path) -> None:
    """Raise ``ValueError`` if a file is not regular, is too large, or would expand when it is unpacked."""
    if not path.is_file():
        raise ValueError("no such regular file")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes; accepted: up to {MAX_BYTES:,}")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        if any(entry.filename.endswith("/constants.pkl") for entry in entries):
            raise ValueError("it is a TorchScript program")
        if any(entry.compress_type for entry in entries) or sum(entry.file_size for entry in entries) > size:
            raise ValueError("its records are compressed, and torch never compresses records")


def _load(path: Path) -> Any:
    """Return the content of a file: tensors, plain containers and ``argparse.Namespace``."""
    check_weights_file(path)
    with path.open("rb") as file:
        is_safetensors = file.read(9)[8:] == b"{" or path.suffix.lower() == ".safetensors"
    if is_safetensors:
        return load_file(path)
    with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
        # torch warns about old formats, and about other kinds of pickles, which it refuses anyway.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _reason(error: Exception) -> str:
    """Return the part of torch's long error message that names the cause."""
    if named := re.search(r"GLOBAL (\S+)", str(error)):
        return f"it holds {brief(named[1])}"
    return brief(str(error).partition("\n")[0] or type(error).__name__)


def _is_plain(tensor: Tensor) -> bool:
    """Return whether a tensor is an array of real numbers in memory."""
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.is_nested or tensor.layout != torch.strided:
        return False
    if tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
        return False
    # The strides of a tensor of a few bytes may claim terabytes.
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _parts(content: Any, depth: int, name: str = "") -> Iterator[tuple[str, State]]:
    """Yield the state dicts under the usual keys of a mapping, then its tensors, with their names.

    A list yields the state dicts of its first item that has any.
    """
    if isinstance(content, list | tuple) and depth:
        yield from next(filter(None, (list(_parts(item, depth - 1, name)) for item in content)), [])
    if not isinstance(content, Mapping) or not depth:
        return
    keys = [key for key in WRAPPERS if key in content]
    wrapped = [part for key in keys for part in _parts(content[key], depth - 1, ".".join(filter(None, [name, key])))]
    yield from wrapped
    # Vectors and scalars next to state dicts may be losses or noise levels instead of weights.
    if wrapped and not any(isinstance(value, Tensor) and value.dim() > 1 for value in content.values()):
        return
    tensors = [(str(key), value) for key, value in content.items() if isinstance(value, Tensor)]
    if len(dict(tensors)) < len(tensors):
        raise ValueError("two weights have the same name")
    if tensors:
        # Tensors at the top level of a file are called ".".
        yield name or ".", dict(tensors)
