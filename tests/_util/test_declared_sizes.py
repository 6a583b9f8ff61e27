"""Declared sizes of images and arrays are checked before memory is allocated."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gahbench._util import image_files
from gahbench._util.errors import DataError
from gahbench._util.image_files import check_pixels, load_arrays, open_image


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_declaring(height, width):
    """Return a PNG file of a few bytes that declares a size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def decode(content):
    with open_image(content, "here") as image:
        return np.asarray(image)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [8193, 40_000])
def test_images_whose_header_declares_too_many_pixels_raise(side):
    with pytest.raises(DataError, match=r"^here: .*(up to 67,108,864 in one file|exceeds limit)"):
        decode(png_declaring(side, side))


def test_the_limit_is_on_pixels_not_on_sides(monkeypatch):
    monkeypatch.setattr(image_files, "MAX_PIXELS", 600)
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(buffer, "PNG")
    assert decode(buffer.getvalue()).shape == (20, 30)
    with pytest.raises(DataError, match="here: an image of 601x1 = 601 pixels; accepted: at least 1, and up to 600"):
        decode(png_declaring(601, 1))
    with pytest.raises(DataError, match="0x3 = 0 pixels; accepted: at least 1"):
        check_pixels(0, 3, "here")


def test_formats_that_start_programs_raise():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "EPS")
    with pytest.raises(DataError, match="here: cannot be read as an image: not an image of a known format"):
        decode(buffer.getvalue())


def test_archives_that_unpack_to_too_many_bytes_raise(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros(10**6, np.uint8))
    assert len(load_arrays(tmp_path / "a.npz", ["images"])["images"]) == 10**6
    monkeypatch.setattr(image_files, "MAX_UNPACKED", 10**6)
    with pytest.raises(DataError, match=r"a\.npz: cannot be read: its arrays have 1,000,128 bytes, more than"):
        load_arrays(tmp_path / "a.npz", ["images"])


@pytest.mark.parametrize("shape", [(10**6, 10**6, 10**6), (-1, 8, 8), (2**62, 2**62)])
def test_arrays_larger_than_the_file_raise(tmp_path, shape):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", 118) + header.encode() + bytes(512))
    with pytest.raises(DataError, match=r"a\.npy: cannot be read: .*; accepted: an \.npy file of one array of numbers"):
        load_arrays(tmp_path / "a.npy", ["images"])
