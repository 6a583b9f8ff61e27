import io
import os
import pickle
import stat
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from deep_colours import DEEP_COLOURS
from PIL import Image

from gahbench._util.errors import DataError
from gahbench_plugins.datasets._reading import arrays, encoded, parquet, preprocess
from gahbench_plugins.datasets._reading import decode as decoding
from gahbench_plugins.datasets._reading.arrays import read_arrays
from gahbench_plugins.datasets._reading.decode import decode
from gahbench_plugins.datasets._reading.files import from_array, from_encoded, open_encoded
from gahbench_plugins.datasets._reading.preprocess import Preprocessing
from gahbench_plugins.datasets.faces import Faces

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
#: Names in the order in which a folder is read.
NAMES = ["b.png", "c.png", "a/b.png", "a/z/a.png", "a/z/b.png", "d/a.png"]


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def read(path, size=None, colour="rgb"):
    images = open_encoded(path)
    if images is None:
        result = read_arrays(path)
        return from_array(result.images, Preprocessing(size, colour), str(path), result.identity)
    return from_encoded(images, Preprocessing(size, colour))


def all_rows(images):
    return images.rows(np.arange(len(images.stored)))


def make_folder(tmp_path):
    for name, image in zip(NAMES, PIXELS, strict=True):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_bytes(encode(image))
    return tmp_path / "f"


def make_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        for name, image in zip(reversed(NAMES), PIXELS[::-1], strict=True):
            archive.writestr(name, encode(image))
        archive.writestr("__MACOSX/._b.png", b"not an image")
        archive.writestr("a/notes.txt", "not an image")
    return tmp_path / "f.zip"


def make_parquet(tmp_path, column=None, **others):
    if column is None:
        column = [{"bytes": encode(image), "path": name} for name, image in zip(NAMES, PIXELS, strict=True)]
    pq.write_table(pa.table({**others, "image": column}), tmp_path / "f.parquet", row_group_size=4)
    return tmp_path / "f.parquet"


def make_raw_parquet(tmp_path):
    return make_parquet(tmp_path, [encode(image) for image in PIXELS], label=list(range(6)))


def make_array(suffix):
    def make(tmp_path):
        path = tmp_path / f"f{suffix}"
        if suffix == ".npz":
            np.savez(path, images=PIXELS)
        elif suffix == ".npy":
            np.save(path, PIXELS)
        else:
            torch.save({"images": torch.from_numpy(PIXELS), "about": "a test"}, path)
        return path

    return make


SOURCES = {
    "folder": make_folder,
    "zip": make_zip,
    "parquet": make_parquet,
    "raw parquet": make_raw_parquet,
    ".npz": make_array(".npz"),
    ".npy": make_array(".npy"),
    ".pt": make_array(".pt"),
}


@pytest.mark.parametrize(("size", "colour"), [(None, "rgb"), (11, "mean"), (9, "luma")])
@pytest.mark.parametrize("source", SOURCES)
def test_every_kind_of_file_gives_the_same_images_in_walking_order(tmp_path, source, colour, size):
    images = PIXELS.transpose(0, 3, 1, 2)
    expected = Preprocessing(size, colour)(images, "here")
    result = read(SOURCES[source](tmp_path), size, colour)
    assert all_rows(result).dtype == torch.float32
    np.testing.assert_array_equal((all_rows(result) * 255).round().numpy(), expected)
    np.testing.assert_allclose(result.pooled(), Preprocessing().pooled(images), atol=1e-6)
    np.testing.assert_array_equal(result.rows(np.array([4, 1])), all_rows(result)[[4, 1]])


def test_digest_depends_on_the_pixels_and_not_on_the_kind_of_file(tmp_path):
    digests = {name: read(make(tmp_path)).digest for name, make in SOURCES.items()}
    assert digests["folder"] == digests["zip"] == digests["parquet"] == digests["raw parquet"]
    assert digests[".npz"] == digests[".npy"] == digests[".pt"]
    assert read(tmp_path / "f", 8, "mean").digest == digests["folder"]
    changed = PIXELS[1].copy()
    changed[3, 3, 0] ^= 1
    (tmp_path / "f" / "c.png").write_bytes(encode(changed))
    assert read(tmp_path / "f").digest != digests["folder"]


def test_an_npy_file_is_mapped_unless_pixels_change_and_floating_point_is_not_rounded(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS[..., 0])
    stored = read(tmp_path / "a.npy", 11, "mean").stored
    assert not stored.flags.writeable
    assert isinstance(stored, np.memmap)
    np.save(tmp_path / "a.npy", (PIXELS / 255)[..., :1])
    result = read(tmp_path / "a.npy", 8, "mean").stored
    assert result.dtype == np.float32
    rounded = Preprocessing(8)(PIXELS[..., :1].transpose(0, 3, 1, 2), "")
    assert 0 < np.abs(result * 255 - rounded).max() < 0.501


def test_people_are_read(tmp_path):
    people = [4, 4, 9, 0, 2, 2]
    np.savez(tmp_path / "a.npz", images=PIXELS, identity=people)
    assert read(tmp_path / "a.npz").identity.tolist() == people
    torch.save({"images": torch.from_numpy(PIXELS), "identity": torch.tensor(people)}, tmp_path / "a.pt")
    assert read(tmp_path / "a.pt").identity.tolist() == people
    assert read(make_parquet(tmp_path, celeb_id=people)).identity.tolist() == people
    assert read(make_raw_parquet(tmp_path)).identity is None
    for wrong in (people[:5], [1.0] * 6, [people]):
        np.savez(tmp_path / "a.npz", images=PIXELS, identity=wrong)
        with pytest.raises(DataError, match=r"a\.npz: 'identity' of shape .* accepted: an integer per image"):
            read(tmp_path / "a.npz")


def test_other_hidden_and_deeper_files_are_left_out(tmp_path):
    folder = make_folder(tmp_path)
    for name in ("notes.txt", "list.csv", ".hidden.png", ".git/a.png", "a/z/too/deep.png", "model.pt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not an image")
    assert open_encoded(folder).names == NAMES
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        for file in folder.rglob("*.*"):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    assert open_encoded(tmp_path / "f.zip").names == NAMES


def assert_refused(path, *words, **parameters):
    def use():
        result = read(path, **parameters)
        result.check_usable(Faces(), "raise", str(path))

    with pytest.raises(DataError) as caught:
        use()
    for word in (path.name, *words):
        assert word in str(caught.value)


BAD_FILES = {
    "empty": (b"", "cannot be read as an image: not an image of a known format"),
    "truncated png": (encode(PIXELS[0])[:-40], "cannot be read as an image"),
    "16-bit grey": (encode(PIXELS[0, :, :, 0].astype(np.uint16)), "mode I;16; accepted: 8 bits per channel"),
    "16-bit colour": (DEEP_COLOURS, "16 bits per channel; accepted: 8 bits per channel"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "not an image of a known format"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_image_files_are_named(tmp_path, case):
    content, message = BAD_FILES[case]
    folder = make_folder(tmp_path)
    (folder / "d" / "bad.png").write_bytes(content)
    assert_refused(folder, "d/bad.png", message)
    with zipfile.ZipFile(make_zip(tmp_path), "a") as archive:
        archive.writestr("d/bad.png", content)
    assert_refused(tmp_path / "f.zip", "d/bad.png", message)
    assert_refused(make_parquet(tmp_path, [encode(PIXELS[0]), content]), "row 1", message)


def test_palettes_cmyk_transparency_bits_and_rotated_images_are_handled():
    colour = Image.fromarray(PIXELS[0])

    def save_image(image, kind="PNG", **options):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return decode(buffer.getvalue(), "here")

    palette = colour.quantize(256)
    np.testing.assert_array_equal(save_image(palette), np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(save_image(palette, transparency=b"\0\x80"), np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(save_image(colour.convert("RGBA")), PIXELS[0])
    np.testing.assert_array_equal(save_image(colour.convert("CMYK"), "TIFF"), PIXELS[0])
    assert save_image(colour.convert("CMYK"), "JPEG").shape == (12, 12, 3)
    bits = Image.fromarray(PIXELS[0, :, :, 0] > 127)
    np.testing.assert_array_equal(save_image(bits)[..., 0], 255 * (PIXELS[0, :, :, 0] > 127))
    on_its_side = Image.Exif()
    on_its_side[0x0112] = 6
    np.testing.assert_array_equal(save_image(colour, exif=on_its_side), np.rot90(PIXELS[0], -1))


def test_mixed_sizes_need_a_size(tmp_path):
    folder = make_folder(tmp_path)
    (folder / "d" / "big.png").write_bytes(encode(RNG.integers(0, 256, (30, 20, 3), dtype=np.uint8)))
    (folder / "bad.png").write_bytes(b"nonsense")
    assert_refused(
        folder,
        "images of 2 sizes, 12x12 (6, such as b.png), 30x20 (1, such as d/big.png); set a 'size'",
        "or use whole photographs with whole[path=",
        "and 1 of 8 images cannot be used: bad.png: ",
    )
    assert read(folder, 12).stored.shape == (7, 3, 12, 12)
    result = read(folder, 16)
    assert result.stored.shape == (1, 3, 16, 16)
    assert list(result.unusable) == ["b.png", "bad.png", "c.png", "a/b.png", "a/z/a.png", "a/z/b.png", "d/a.png"]
    assert result.unusable["b.png"] == "smaller than 16x16 pixels (size=16)"
    assert_refused(folder, "8 of 8 images cannot be used", "d/big.png: smaller than 21x21 pixels", size=21)


def test_empty_sources(tmp_path):
    (tmp_path / "none").mkdir()
    assert_refused(tmp_path / "none", "no images", "accepted: .bmp")
    zipfile.ZipFile(tmp_path / "f.zip", "w").close()
    assert_refused(tmp_path / "f.zip", "no images")
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "f.parquet")
    assert_refused(tmp_path / "f.parquet", "no images")
    np.save(tmp_path / "f.npy", PIXELS[:0])
    assert_refused(tmp_path / "f.npy", "0 images")
    assert_refused(tmp_path / "missing", "no such file or folder", "accepted")
    (tmp_path / "a.txt").write_text("")
    assert_refused(tmp_path / "a.txt", "accepted: a folder of images, or a file .zip")


def zip_with(path, name, mode=stat.S_IFREG | 0o644, content=None):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", encode(PIXELS[0]))
        archive.writestr(entry, content or encode(PIXELS[0]))
    return path


@pytest.mark.parametrize("name", ["a/../../b.png", "/etc/b.png", "C:/b.png", "..\\b.png"])
def test_archives_that_reach_outside_are_refused(tmp_path, name):
    assert_refused(zip_with(tmp_path / "f.zip", name), name, "lies outside of the archive; accepted: plain files")


def test_links_encryption_and_bombs_in_archives_are_refused(tmp_path, monkeypatch):
    path = zip_with(tmp_path / "f.zip", "link.png", stat.S_IFLNK | 0o777, b"/etc/passwd")
    assert_refused(path, "link.png", "is a link")
    content = bytearray(zip_with(path, "b.png").read_bytes())
    for signature, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.rindex(signature) + flags] |= 1
    path.write_bytes(content)
    assert_refused(path, "b.png", "is encrypted")
    monkeypatch.setattr(encoded, "MAX_FILE_BYTES", 2000)
    assert_refused(zip_with(path, "b.png", content=bytes(2001)), "b.png", "too large")
    monkeypatch.setattr(encoded, "MAX_FILE_BYTES", 100)
    assert_refused(make_folder(tmp_path), "d/a.png: cannot be read: has", "accepted: up to 100")


def test_damaged_archives_and_tables(tmp_path):
    content = bytearray(make_zip(tmp_path).read_bytes())
    (tmp_path / "f.zip").write_bytes(content[:200])
    assert_refused(tmp_path / "f.zip", "cannot be read as a zip archive")
    start = content.index(b"IDAT")
    content[start + 9] ^= 0xFF
    (tmp_path / "f.zip").write_bytes(content)
    assert_refused(tmp_path / "f.zip", "cannot be read: Bad CRC-32")
    table = make_parquet(tmp_path).read_bytes()
    (tmp_path / "f.parquet").write_bytes(table[:-30])
    assert_refused(tmp_path / "f.parquet", "cannot be read as a Parquet table")
    pq.write_table(pa.table({"label": [1], "text": ["a"]}), tmp_path / "f.parquet")
    assert_refused(tmp_path / "f.parquet", "no column of images; its columns: label, text")
    absent = [{"bytes": encode(PIXELS[0]), "path": None}, {"bytes": None, "path": "elsewhere.png"}]
    assert_refused(make_parquet(tmp_path, absent), "row 1: has no bytes")


def test_few_images_are_decoded_ahead_of_those_that_are_used(tmp_path, monkeypatch):
    folder = make_folder(tmp_path)
    waiting = []
    real = decoding.decode

    def decode(content, where):
        waiting.append(where)
        return real(content, where)

    monkeypatch.setattr(decoding, "decode", decode)
    monkeypatch.setattr(decoding, "cpu_count", lambda: 8)
    monkeypatch.setattr(decoding, "IN_FLIGHT", 2 * 12 * 12)
    most = 0
    for used, image in decoding.Decoding(open_encoded(folder)):
        # Threads begin in any order.
        assert f"{folder}: {NAMES[used]}" in waiting
        assert image.shape == (12, 12, 3)
        most = max(most, len(waiting) - used)
    assert 1 <= most <= 3


def test_large_images_are_processed_in_parts(tmp_path, monkeypatch):
    whole = all_rows(read(make_folder(tmp_path), 9, "luma"))
    monkeypatch.setattr(preprocess, "STRIP", 12)
    monkeypatch.setattr(arrays, "CHUNK_PIXELS", 12 * 12)
    monkeypatch.setattr(decoding, "STRIP", 12)
    monkeypatch.setenv("GAHBENCH_CACHE", str(tmp_path / "other"))
    assert torch.equal(all_rows(read(tmp_path / "f", 9, "luma")), whole)
    np.save(tmp_path / "a.npy", PIXELS)
    assert torch.equal(all_rows(read(tmp_path / "a.npy", 9, "luma")), whole)


@pytest.mark.parametrize("suffix", [".npy", ".pt", ".zip", ".png", ""])
def test_files_that_are_not_regular_are_refused_without_blocking(tmp_path, suffix):
    os.mkfifo(tmp_path / f"f{suffix}")
    assert_refused(tmp_path / f"f{suffix}", "expected a regular file; accepted: a folder of images")
    (tmp_path / f"d{suffix}").symlink_to("/dev/zero")
    assert_refused(tmp_path / f"d{suffix}", "expected a regular file")


def test_a_folder_named_like_an_image_is_refused(tmp_path):
    folder = make_folder(tmp_path)
    os.mkfifo(folder / "notes")
    assert len(open_encoded(folder).names) == 6
    os.mkfifo(folder / "a" / "y.png")
    assert_refused(folder, "a/y.png: named like an image, but not a file")
    (folder / "a" / "y.png").unlink()
    (folder / "a" / "y.png").symlink_to("gone")
    assert_refused(folder, "a/y.png: named like an image, but not a file")


def test_tables_are_read_a_few_rows_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS", 1)
    table = open_encoded(make_parquet(tmp_path))
    contents = [encode(image) for image in PIXELS]
    assert [table.content(row) for row in range(6)] == contents
    assert [table.content(row) for row in (2, 3)] == contents[2:4]
    monkeypatch.setattr(parquet, "MAX_ROWS", 5)
    assert_refused(tmp_path / "f.parquet", "it declares 6 rows; accepted: up to 5")


class Opened:
    """A pickle that would run code if it were loaded."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_files_that_hold_pickles_are_refused_and_not_run(tmp_path):
    np.save(tmp_path / "a.npy", np.array([Opened()], dtype=object), allow_pickle=True)
    assert_refused(tmp_path / "a.npy", "accepted: an .npy file of one array of numbers")
    np.savez(tmp_path / "a.npz", images=np.array([Opened()], dtype=object))
    assert_refused(tmp_path / "a.npz", "accepted")
    torch.save({"images": Opened()}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Opened()))
    for name in ("a.pt", "b.pt"):
        assert_refused(tmp_path / name, "without running its content", "accepted")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "contains a list"),
        ({"faces": torch.zeros(3)}, "no key 'images'; its keys: faces"),
        (torch.zeros(3, 8, 8, dtype=torch.bfloat16), "BFloat16"),
        (torch.zeros(3, 8, 8, dtype=torch.int32), "int32; accepted"),
        (torch.zeros(3, 8), "(3, 8); accepted"),
        ({"images": torch.zeros(1).expand(10**5, 10**5)}, "claims 10,000,000,000 numbers, of which 1 are in the file"),
        ({"images": torch.full((6, 12, 12), torch.nan)}, "pixels from nan to nan"),
    ],
)
def test_torch_files_without_images_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pt")
    assert_refused(tmp_path / "a.pt", message, "accepted")


def test_compressed_torch_files_are_refused(tmp_path):
    torch.save(torch.rand(6, 12, 12), tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as whole, zipfile.ZipFile(tmp_path / "b.pt", "w", 8) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    assert_refused(tmp_path / "b.pt", "is compressed, and torch never compresses records")
