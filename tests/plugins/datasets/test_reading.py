"""Every reader of files gives the pixels of each format, and refuses hostile files with one line that names them."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

import gahbench
from gahbench import DataError
from gahbench_plugins.datasets import reading

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY, DEEP, FLOATS = RGB[..., 0], RGB.astype(np.uint16) * 257, RGB / np.float32(255)
ON_ITS_SIDE = Image.Exif()
ON_ITS_SIDE[0x0112] = 6


def encode(pixels, kind="PNG", mode=None, **options):
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def png(depth, colours, data, height=8, width=8):
    """Return a PNG file with a header of any values."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


PALETTE = Image.fromarray(RGB).quantize(256)
BITS = GREY > 127
FORMATS = {
    "grey.png": (encode(GREY), GREY),
    "colours.png": (encode(RGB), RGB),
    "transparent.png": (encode(RGB, mode="RGBA"), RGB),
    "grey_transparent.png": (encode(GREY, mode="LA"), GREY),
    "palette.png": (encode(np.asarray(PALETTE)), np.asarray(PALETTE)),
    "bits.png": (encode(BITS), 255 * BITS.astype(np.uint8)),
    "deep.png": (encode(DEEP[..., 0]), DEEP[..., 0]),
    "upright.jpg": (encode(GREY, "JPEG", exif=ON_ITS_SIDE), np.rot90(GREY, -1)),
    "a.bmp": (encode(RGB, "BMP"), RGB),
    "a.ppm": (encode(RGB, "PPM"), RGB),
    "a.webp": (encode(RGB, "WEBP", lossless=True), RGB),
    "a.jp2": (encode(RGB, "JPEG2000"), RGB),
    "colours.tif": (tiff(RGB, photometric="rgb"), RGB),
    "planes.tif": (tiff(RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), RGB),
    "packed.tif": (tiff(GREY, compression="zlib"), GREY),
    "deep.tiff": (tiff(DEEP, photometric="rgb"), DEEP),
    "floats.tif": (tiff(FLOATS[..., 0]), FLOATS[..., 0]),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_keep_their_pixels_and_types(tmp_path, name):
    content, expected = FORMATS[name]
    (tmp_path / name).write_bytes(content)
    pixels = reading.read_image(tmp_path / name)
    tolerance = 25 if name.endswith(".jpg") else 0
    assert (pixels.dtype, pixels.shape) == (expected.dtype, expected.shape)
    assert np.abs(pixels.astype(float) - expected).mean() <= tolerance


#: Files that no reader accepts, and a part of the reason.
BAD_FILES = {
    "empty.png": (b"", "not an image of a known format"),
    "text.jpg": (b"a text\n", "not an image of a known format"),
    "postscript.png": (encode(RGB, "EPS"), "not an image of a known format"),
    "truncated.png": (encode(RGB)[:-300], "cannot be read as an image: "),
    "truncated.tif": (tiff(RGB)[:-300], "cannot be read as an image: "),
    "deep_colours.png": (png(16, 2, 8 * (b"\0" + bytes(48))), "16 bits per channel; accepted: grey, or RGB of 8 bits"),
    "cmyk.jpg": (encode(RGB, "JPEG", mode="CMYK"), "of mode CMYK; accepted: grey, or RGB"),
    "inverted.tif": (tiff(GREY, photometric="miniswhite"), "accepted: grey (MINISBLACK) or RGB"),
    "pages.tif": (tiff(np.stack([GREY, GREY]), photometric="minisblack"), "a file of 2 images; accepted: one image"),
    "declares.png": (png(8, 0, b"", 8193, 8193), "8193x8193 = 67,125,249 pixels; accepted: at least 1, and up to"),
    "bomb.png": (png(8, 0, b"", 40_000, 40_000), "cannot be read as an image: "),
    "fifo.png": (None, "not a regular file"),
    "line\nbreak.png": (b"", "not an image of a known format"),
}
#: Files that datasets of images with 8 bits refuse.
DEEP_FILES = {
    "deep.png": (encode(DEEP[..., 0]), "uint16; accepted: "),
    "floats.tif": (tiff(FLOATS[..., 0]), "float32; accepted: "),
}
COLOURS = ("mean", "luma", "rgb")
READERS = {"images": "size=16,", "faces": "size=16,", "photos": "size=16,", "whole": "", "captures": ""}


def write_folder(folder, count, **files):
    """Write good images, and others by name."""
    folder.mkdir()
    for number, image in enumerate(RNG.integers(64, 192, (count, 64, 64), dtype=np.uint8)):
        (folder / f"good{number:02d}.png").write_bytes(encode(image))
    for name, content in files.items():
        if content is None:
            os.mkfifo(folder / name)
        else:
            (folder / name).write_bytes(content)
    return folder


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", [*BAD_FILES, *DEEP_FILES])
def test_unusable_files_are_named_and_left_out_on_request(tmp_path, reader, name):
    if reader == "captures" and name in DEEP_FILES:
        return
    # Captures are examined for noise, which takes longer.
    (content, reason), count = (BAD_FILES | DEEP_FILES)[name], 3 if reader == "captures" else 12
    folder = write_folder(tmp_path / ("noisy" if reader == "captures" else "f"), count, **{name: content})
    spec = f"{reader}[{READERS[reader]}path={tmp_path if reader == 'captures' else folder}"
    with pytest.raises(DataError, match=f"1 of {count + 1} images cannot be used: ") as caught:
        gahbench.create("dataset", f"{spec}]").images("test", 1)
    shown = name.rpartition(".")[0].replace("\n", "\\n")
    assert shown in str(caught.value)
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith("on_error=skip leaves them out")
    skipping = gahbench.create("dataset", f"{spec},on_error=skip]")
    images, fingerprint, (note, *notes) = skipping.images("test", 2), skipping.fingerprint(), skipping.notes
    assert shown in note
    (folder / name).unlink()
    clean = gahbench.create("dataset", f"{spec}]")
    assert images.equal(clean.images("test", 2))
    assert (clean.fingerprint(), clean.notes) == (fingerprint, tuple(notes))


def npy(kind, shape, values=b""):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode() + values


SQUARES = RNG.integers(0, 256, (12, 20, 20), dtype=np.uint8)
#: Contents of array files that no reader accepts, and the part of the error that says why.
BAD_ARRAYS = {
    "nothing": (b"", "cannot be read"),
    "text": (b"a text", "cannot be read"),
    "objects": (npy("|O", (3,), b"\x80\x04K\x01."), "cannot be read"),
    "larger than the file": (npy("|u1", (10**6, 10**6, 10**6), bytes(99)), "cannot be read"),
    "negative": (npy("|u1", (-1, 8, 8), bytes(512)), "cannot be read"),
    "no images": (SQUARES[:0], "accepted: "),
    "no pixels": (np.zeros((6, 0, 9), np.uint8), "accepted: "),
    "one number": (np.uint8(3), "accepted: "),
    "vector": (np.zeros(9, np.uint8), "accepted: "),
    "four channels": (np.zeros((12, 20, 20, 4), np.uint8), "accepted: "),
    "complex": (np.zeros((12, 20, 20), complex), "type complex128; accepted: "),
    "not a number": (np.full((12, 20, 20), np.nan), "accepted: |NaN"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", BAD_ARRAYS)
def test_array_files_that_cannot_be_used_are_refused(tmp_path, reader, content):
    values, reason = BAD_ARRAYS[content]
    path = tmp_path / "a.npz"
    if isinstance(values, bytes):
        path = path.with_suffix(".npy")
        path.write_bytes(values)
    else:
        np.savez(path, **{"noisy" if reader == "captures" else "images": values})
    with pytest.raises(DataError, match=reason) as caught:
        gahbench.create("dataset", reader, path=str(path)).images("test", 1)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "kind", ["missing", "~nobody-at-all/x", "a\0b", "empty", "fifo.npy", "a.txt", "a.pt", "other.npz"]
)
def test_paths_without_images_are_refused(tmp_path, reader, kind):
    path = kind if kind.startswith("~") else str(tmp_path / kind)
    if kind == "empty":
        (tmp_path / kind).mkdir()
    elif kind == "fifo.npy":
        os.mkfifo(path)
    elif kind in ("a.txt", "a.pt"):
        (tmp_path / kind).write_text("text")
    elif kind == "other.npz":
        np.savez(path, **{"line\nbreak": np.zeros((2, 2), complex)})
    with pytest.raises(DataError, match=r"accepted: .*(folder|arrays|under 'images'|\.png|\(H, W\))") as caught:
        gahbench.create("dataset", reader, path=path).images("test", 1)
    assert str(caught.value).replace("\0", "").isprintable()


def test_archives_that_unpack_to_too_many_bytes_are_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros(10**6, np.uint8))
    monkeypatch.setattr(reading, "MAX_UNPACKED", 10**6)
    with pytest.raises(DataError, match=r"its arrays have 1,000,128 bytes, more than 1,000,000; use \.npy files"):
        reading.read_arrays(tmp_path / "a.npz")
    np.save(tmp_path / "a.npy", SQUARES)
    assert isinstance(reading.read_arrays(tmp_path / "a.npy")["images"], np.memmap)


def test_files_come_before_folders_and_hidden_and_deeper_files_are_left_out(tmp_path):
    names = ["b.png", "c.JPG", "a/b.png", "a/z/a.png", "d/a.tif"]
    for name in [*names, ".hidden.png", ".git/a.png", "a/z/too/deep.png", "notes.txt", "model.pt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(reading.image_files(tmp_path)) == names


@pytest.mark.parametrize("name", ["images", "faces", "photos", "whole"])
@pytest.mark.parametrize("is_grey", [True, False])
def test_notes_on_dropped_colours_name_the_parameter_that_keeps_them(tmp_path, name, is_grey):
    pixels = RNG.integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels[..., :1].repeat(3, 3) if is_grey else pixels)
    notes = [gahbench.create("dataset", name, path=f"{tmp_path}/a.npz", colour=colour).notes for colour in COLOURS]
    note = "colour images are converted to grey (colour=mean); colour=rgb keeps their colours"
    assert notes == [() if is_grey else (note,), (), ()]
