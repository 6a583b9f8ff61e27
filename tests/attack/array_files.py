"""Hostile array files (.npy, .npz, .pt): invalid types and shapes, damaged files, decompression bombs."""

from __future__ import annotations

import functools
import io
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from .hostile import texts
from .image_bytes import DAMAGES, damage_bytes

#: Types in headers of .npy files.
TYPES = (
    "|u1", "|u1", "|u1", "<f4", "<f8", ">f4", "<f2", "<f16", "|b1", "|i1", "<u2", ">u2", "<i8", "<c8", "|O", "<U4",
    "|S3", "|V7", "<M8[s]", "[('a', '<f4'), ('b', '|u1')]", "('<f4', (3,))", "|u0", "<f3", "x",
    "__import__('os').mkdir('ran')",
)  # fmt: skip
SHAPES = (
    (6, 12, 12), (6, 12, 12), (6, 12, 12, 3), (6, 3, 12, 12), (12, 12), (12, 12, 3), (3, 12, 12), (40, 9, 9), (1, 1, 1),
    (), (0,), (6, 0, 12), (0, 12, 12), (6, 12, 12, 0), (-1, 12, 12), (6, -12, 12), (10**6, 10**6, 10**6), (2**62, 2),
    (1, 10**5, 10**5), (10**9, 1, 1), (6, 12, 12, 2), (6, 12, 12, 4), (1, 1, 1, 1, 1, 1, 1), (1,) * 60,
)  # fmt: skip
FILLS = ("random", "zeros", "ones", "nan", "outside", "short", "empty")


class Hostile:
    """An object whose unpickling creates a folder named :attr:`marker` in the current folder."""

    marker = "ran"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_create_marker, (self.marker,))


def _create_marker(marker: str) -> None:
    Path(marker).mkdir(exist_ok=True)


def npy(dtype: str, shape: tuple[int, ...], fill: str, fortran: bool, number: int) -> bytes:
    """Return an .npy file with any header, and at most a megabyte of data."""
    text = f"{{'descr': {dtype if dtype[0] in '[(' else repr(dtype)}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
    header = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
    rng = np.random.default_rng(number)
    count = min(abs(int(np.prod([float(min(side, 10**4)) for side in shape]))), 20_000)
    values = {
        "zeros": np.zeros(count),
        "ones": np.ones(count),
        "nan": np.full(count, np.nan),
        "outside": 300 * np.ones(count),
    }
    try:
        kind = np.dtype(dtype)
        floats = values.get(fill, rng.random(count))
        data = (rng.integers(0, 256, count) if kind.kind in "ui" else floats).astype(kind).tobytes()
    except Exception:
        data = rng.bytes(count)
    data = {"short": data[: len(data) // 2], "empty": b""}.get(fill, data)
    if dtype == "|O":
        data = pickle.dumps([Hostile()] * 3)
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + data


def npz(members: list[tuple[str, bytes]], method: int) -> bytes:
    """Return an .npz file with the given members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name[:1000] or "x"), content, compress_type=method)
    return buffer.getvalue()


@functools.cache
def packed_zeros(size: int) -> bytes:
    """Return an .npz file of zeros, whose size is many times larger after decompression."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size // 10**6}, 1000, 1000), }}".ljust(117) + "\n"
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("images.npy", "w", force_zip64=True) as file,
    ):
        file.write(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode())
        for _ in range(size // 10**6):
            file.write(bytes(10**6))
    return buffer.getvalue()


def tensors(number: int) -> dict[str, Any]:
    """Return valid images, and tensors that are unexpected in a file of images or weights, by name."""
    images = torch.rand(6, 12, 12, generator=torch.Generator().manual_seed(number))
    with warnings.catch_warnings():
        # torch warns about experimental and deprecated kinds of tensors.
        warnings.simplefilter("ignore")
        return _tensors(images)


def _tensors(images: torch.Tensor) -> dict[str, Any]:
    return {
        "good": images,
        "bytes": (255 * images).byte(),
        "half": images.half(),
        "brain": images.bfloat16(),
        "eight bits": images.to(torch.float8_e4m3fn),
        "complex": images + 1j * images,
        "integers": (9 * images).long(),
        "bits": images > 0.5,
        "expanded": torch.zeros(1).expand(10**4, 10**4, 10**4),
        "overlapping": torch.zeros(100).as_strided((50, 50, 50), (1, 1, 0)),
        "backwards": images.flip(0).transpose(1, 2),
        "sparse": images.to_sparse(),
        "rows": images[0].to_sparse_csr(),
        "quantized": torch.quantize_per_tensor(images, 0.1, 0, torch.quint8),
        "nested": torch.nested.nested_tensor([images[0], images[1, :3]]),
        "meta": torch.empty(6, 12, 12, device="meta"),
        "gradient": images.clone().requires_grad_(),
        "parameter": torch.nn.Parameter(images),
        "nothing": torch.empty(0, 12, 12),
        "number": torch.tensor(0.5),
        "not a number": torch.full((6, 12, 12), torch.nan),
        "infinite": torch.full((6, 12, 12), torch.inf),
        "conjugate": (images + 1j).conj(),
        "hostile": Hostile(),
        "object": np.array([Hostile()], dtype=object),
        "text": "text",
        "none": None,
    }


KINDS = tuple(tensors(0))


def pt(content: Any, is_zipped: bool) -> bytes:
    """Return a torch file; empty if torch cannot write the content."""
    buffer = io.BytesIO()
    try:
        torch.save(content, buffer, _use_new_zipfile_serialization=is_zipped)
    except Exception:
        return b""
    return buffer.getvalue()


def recompress(content: bytes) -> bytes:
    """Return a zip file with compressed members, which torch never writes; other content is unchanged."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return npz([(name, archive.read(name)) for name in archive.namelist()], zipfile.ZIP_DEFLATED)
    except Exception:
        return content


@st.composite
def array_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw the suffix and the content of an array file."""
    number = draw(st.integers(0, 10_000))

    def draw_npy() -> bytes:
        return npy(
            draw(st.sampled_from(TYPES)),
            draw(st.sampled_from(SHAPES)),
            draw(st.sampled_from(FILLS)),
            draw(st.booleans()),
            number,
        )

    suffix = draw(st.sampled_from((".npy", ".npz")))
    if suffix == ".npy":
        content = draw_npy()
    elif suffix == ".npz" and draw(st.integers(0, 9)) == 0:
        content = packed_zeros(draw(st.sampled_from((2 * 10**9, 10**8))))
    else:
        names = (
            st.sampled_from(("images.npy", "images.npy", "identity.npy", "a.npy", "b", "images", "../x.npy")) | texts
        )
        members = [(draw(names), draw_npy()) for _ in range(draw(st.integers(0, 4)))]
        methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        content = npz(members, draw(st.sampled_from(methods)))
    return suffix, damage_bytes(content, draw(st.sampled_from(DAMAGES)), number)
