"""State dicts in files of weights, which are read without running any code in them."""

from __future__ import annotations

import argparse
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gahbench import ParameterError

State = dict[str, Tensor]

#: Keys under which programs save a state dict, in order of preference: averaged weights come first.
WRAPPERS = ("params_ema", "ema", "state_dict", "model_state_dict", "model", "params", "network", "net")
#: Prefixes that wrappers such as DataParallel and torch.compile add to names.
PREFIXES = ("module.", "_orig_mod.", "model.")
#: Largest depth of nested containers that is searched, and largest size of a file in bytes.
MAX_DEPTH, MAX_BYTES = 4, 1 << 32
#: Name of the tensors at the top level of a file.
TOP = "."
ACCEPTED = (
    "accepted: safetensors, or a torch file of tensors in dictionaries, lists and tuples, with argparse.Namespace as "
    "the only other class, such as a state_dict()"
)


class Part(NamedTuple):
    """A state dict in a file, its name, and the names of the other state dicts in the file."""

    state: State
    name: str
    others: tuple[str, ...]


def read_part(path: Path, part: str | None = None) -> Part:
    """Read a state dict from a safetensors or torch file, by name or in order of preference, in float32.

    Raises
    ------
    ParameterError
        If the file is no file of weights, holds values that are not finite, or has no state dict of the name.
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
    name = next(iter(parts)) if part is None else part
    if name not in parts:
        raise ParameterError(f"{path}: part={brief(name)}: not in this file; accepted: {brief(', '.join(parts))}")
    state = {}
    for key, tensor in parts[name].items():
        if not _is_plain(tensor):
            raise ParameterError(f"{path}: {brief(key)} is not a plain tensor of real numbers in the file")
        state[key] = tensor.float() if tensor.is_floating_point() else tensor
        if not state[key].isfinite().all():
            raise ParameterError(f"{path}: {brief(key)} holds numbers that are infinite or NaN; accepted: finite ones")
    return Part(state, name, tuple(other for other in parts if other != name))


def remove_prefixes(state: State) -> Iterator[State]:
    """Yield a state dict, then the state dict after each removal of a prefix that all of its names share."""
    yield state
    for _ in PREFIXES if state else ():
        prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in state)), None)
        if prefix is None:
            return
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
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

    A list yields the state dicts of its first item that has any. The weights of networks that are numbered, as in
    IRCNN, form one state dict, with the number of the network as prefix of their names.
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
    if content and all(str(key).isdecimal() and isinstance(value, Mapping) for key, value in content.items()):
        for key, value in content.items():
            _, state = next(_parts(value, depth - 1), ("", State()))
            tensors += [(f"{key}.{weight}", tensor) for weight, tensor in state.items()]
    if len(dict(tensors)) < len(tensors):
        raise ValueError("two weights have the same name")
    if tensors:
        yield name or TOP, dict(tensors)
