"""Load torch files without running any code in them, and validate their tensors."""

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

#: Maximum size of a file in bytes; files are read into memory.
MAX_BYTES = 1 << 32
_ZIP = b"PK\x03\x04"


def load_torch(path: Path, classes: Sequence[type] = ()) -> Any:
    """Return the content of a torch file: tensors, plain containers, and objects of the given classes."""
    try:
        check_weights_file(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(classes)):
            # torch warns about old formats, and about other kinds of pickles, which it refuses anyway.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # On damaged files torch raises many kinds of exceptions.
        raise ValueError(_reason(error)) from error


def check_weights_file(path: Path) -> None:
    """Raise ``ValueError`` if a file is not regular, is too large, or would expand when it is unpacked."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise ValueError(f"it has {size:,} bytes; accepted: up to {MAX_BYTES:,}")
        if file.read(len(_ZIP)) == _ZIP:
            _check_records(file, size)


def find_fault(tensor: Tensor) -> str | None:
    """Return why a tensor is not a plain array of real numbers in memory, or ``None`` if it is."""
    if type(tensor) not in (Tensor, nn.Parameter):
        return f"is a {type(tensor).__name__}, not a plain tensor"
    kinds = {
        "nested": tensor.is_nested,
        "sparse": tensor.layout != torch.strided,
        "quantized": tensor.is_quantized,
        "complex": tensor.is_complex(),
        "without numbers, on the meta device": tensor.is_meta,
    }
    kind = next((name for name, applies in kinds.items() if applies), None)
    if kind is not None:
        return f"is {kind}"
    stored = tensor.untyped_storage().nbytes() // tensor.element_size()
    if tensor.numel() > stored:
        # The strides of a tensor of a few bytes may claim terabytes.
        return f"claims {tensor.numel():,} numbers, of which {stored:,} are in the file"
    return None


def _check_records(file: BinaryIO, size: int) -> None:
    """Raise ``ValueError`` if records of a zip file are compressed, which torch never writes, or overlap."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.filename.endswith("/constants.pkl") for entry in entries):
            raise ValueError("it is a TorchScript program")
        compressed = next((entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED), None)
        if compressed is not None:
            raise ValueError(
                f"its record {brief(compressed.filename)} is compressed, and torch never compresses records"
            )
        if sum(entry.file_size for entry in entries) > size:
            raise ValueError("its records are larger than the file")


def _reason(error: Exception) -> str:
    """Return the part of torch's long error message that names the cause."""
    text = str(error)
    if named := re.search(r"GLOBAL (\S+)", text):
        return f"it holds {brief(named[1])}"
    if "WeightsUnpickler error" in text:
        return "it is a pickle that torch did not write"
    if isinstance(error, LookupError | EOFError | UnicodeDecodeError | UnpicklingError):
        # For example, torch reads the letters of a text file as pickle instructions.
        return f"it was not written by torch ({type(error).__name__})"
    return brief(error if isinstance(error, OSError) else text.partition("\n")[0] or type(error).__name__)
