"""Files that torch wrote, read without running anything that is in them, and their tensors, checked."""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from gahbench._util.files import open_regular
from gahbench._util.readable import brief

#: The most bytes of a file, which is read into memory.
MAX_BYTES = 1 << 32
_ZIP = b"PK\x03\x04"


def load_torch(path: Path, classes: Sequence[type] = ()) -> Any:
    """Return what a torch file holds: tensors, plain containers, and objects of a few more classes."""
    try:
        check_weights_file(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(classes)):
            # Of old formats, and of pickles of another kind, which are refused anyway.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged files make torch raise all kinds.
        raise ValueError(_reason(error)) from error


def check_weights_file(path: Path) -> None:
    """Refuse what is no regular file, is too large, or would unpack to more than it has."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise ValueError(f"it has {size:,} bytes, and up to {MAX_BYTES:,} are read")
        if file.read(len(_ZIP)) == _ZIP:
            _check_records(file, size)


def fault(tensor: Tensor) -> str | None:
    """Return why a tensor is no plain array of real numbers in memory; ``None`` if it is."""
    if type(tensor) not in (Tensor, nn.Parameter):
        return f"is a {type(tensor).__name__}, not a plain tensor"
    kinds = {
        "nested": tensor.is_nested,
        "sparse": tensor.layout != torch.strided,
        "quantized": tensor.is_quantized,
        "complex": tensor.is_complex(),
        "without numbers, on the meta device": tensor.is_meta,
    }
    kind = next((name for name, is_so in kinds.items() if is_so), None)
    if kind is not None:
        return f"is {kind}"
    held = tensor.untyped_storage().nbytes() // tensor.element_size()
    if tensor.numel() > held:
        # Such a tensor of a few bytes may claim terabytes.
        return f"claims {tensor.numel():,} numbers, of which {held:,} are in the file"
    return None


def _check_records(file: BinaryIO, size: int) -> None:
    """Refuse zip files of which a record is compressed, as torch never writes them, or in which records overlap."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.filename.endswith("/constants.pkl") for entry in entries):
            raise ValueError("it is a TorchScript program")
        packed = next((entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED), None)
        if packed is not None:
            raise ValueError(f"its record {brief(packed.filename)} is compressed, and torch compresses none")
        if sum(entry.file_size for entry in entries) > size:
            raise ValueError("its records are larger than the file")


def _reason(error: Exception) -> str:
    """Return the part of torch's long messages that names the error."""
    text = str(error)
    if named := re.search(r"GLOBAL (\S+)", text):
        return f"it holds {brief(named[1])}"
    if "WeightsUnpickler error" in text:
        return "it is a pickle of another kind"
    if isinstance(error, LookupError | EOFError | UnicodeDecodeError | UnpicklingError):
        # Of a text, say, whose letters are taken for instructions.
        return f"it is no file that torch wrote ({type(error).__name__})"
    return brief(error if isinstance(error, OSError) else text.partition("\n")[0] or type(error).__name__)
