import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from gahbench._util.errors import DataError
from gahbench_plugins.datasets._reading import cache
from gahbench_plugins.datasets._reading.cache import cache_folder, load_or_build
from gahbench_plugins.datasets.faces import Faces
from gahbench_plugins.datasets.photos import Photos

NAMES = [f"{index}.png" for index in range(6)]


def forbid(monkeypatch):
    def decode(content, name):
        raise AssertionError(f"decoded {name}")

    monkeypatch.setattr("gahbench_plugins.datasets._reading.decode.decode", decode)


@pytest.fixture
def folder(tmp_path, write_images):
    write_images(tmp_path / "f", NAMES, np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8))
    return tmp_path / "f"


def test_the_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("GAHBENCH_CACHE", "~/here")
    assert cache_folder() == Path.home() / "here"
    monkeypatch.delenv("GAHBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/gahbench")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path.home() / ".cache" / "gahbench"


def test_the_second_construction_decodes_nothing(folder, monkeypatch):
    first = Faces(str(folder), test=2)
    images, fingerprint = first.images("train", 3), first.fingerprint()
    assert isinstance(first._all.stored, np.memmap)
    photographs = Photos(str(folder), size=8, colour="rgb").images("train", 5)
    forbid(monkeypatch)
    again = Faces(str(folder), test=2)
    assert torch.equal(again.images("train", 3), images)
    assert again.fingerprint() == fingerprint
    assert torch.equal(Photos(str(folder), size=8, colour="rgb").images("train", 5), photographs)
    # Other splits of the same images need no decoding either.
    assert Faces(str(folder), test=1, near_duplicates="keep", seed=1).available("train") == 5
    with pytest.raises(AssertionError, match="decoded"):
        Faces(str(folder), size=8).shape  # noqa: B018


@pytest.mark.parametrize("change", ["content", "time", "new", "gone"])
def test_a_changed_file_is_decoded_again(folder, monkeypatch, change):
    before = Faces(str(folder)).fingerprint()
    file = folder / "2.png"
    content, status = file.read_bytes(), file.stat()
    if change == "content":
        # Only the size changes: the modification time is restored.
        file.write_bytes((folder / "3.png").read_bytes() + b"\0")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "time":
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    elif change == "new":
        (folder / "a.png").write_bytes(content)
    else:
        file.unlink()
    after = Faces(str(folder)).fingerprint()
    assert (after == before) == (change == "time")
    forbid(monkeypatch)
    assert Faces(str(folder)).fingerprint() == after
    if change in ("content", "time"):
        file.write_bytes(content)
        with pytest.raises(AssertionError, match="decoded"):
            Faces(str(folder)).shape  # noqa: B018


def test_a_failed_decoding_leaves_nothing(folder):
    for name in NAMES:
        (folder / name).write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"5\.png"):
        Faces(str(folder)).shape  # noqa: B018
    assert list(cache_folder().iterdir()) == []


def test_files_that_can_be_used_are_decoded_once_though_others_cannot(folder, monkeypatch):
    (folder / "5.png").write_bytes(b"nonsense")
    for _ in range(2):
        with pytest.raises(DataError, match=r"1 of 6 images cannot be used: 5\.png"):
            Faces(str(folder)).shape  # noqa: B018
        forbid(monkeypatch)
    skipping = Faces(str(folder), on_error="skip")
    assert sum(skipping.available(split) for split in ("train", "validation", "test")) == 5


def test_the_first_to_finish_wins():
    def make(name):
        def write(folder):
            (folder / "who").write_text(name)
            # Another process starts later and finishes first.
            if name == "slow":
                load_or_build("test", 1, make("quick"))
            return {"name": name}

        return write

    folder, facts = load_or_build("test", 1, make("slow"))
    assert facts == {"name": "quick"}
    assert (folder / "who").read_text() == "quick"
    assert [child.name for child in cache_folder().iterdir()] == [folder.name]


def test_errors_name_damaged_folders(folder):
    Faces(str(folder)).shape  # noqa: B018
    (kept,) = cache_folder().iterdir()
    content = (kept / "images.npy").read_bytes()
    (kept / "images.npy").write_bytes(content[:-300])
    with pytest.raises(DataError, match=r"damaged .*remove it, and it is rebuilt"):
        Faces(str(folder)).shape  # noqa: B018
    (kept / "facts.json").write_text(json.dumps({})[:-1])
    with pytest.raises(DataError, match=r"damaged .*remove it"):
        Faces(str(folder)).shape  # noqa: B018


def test_errors_name_an_unwritable_cache(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GAHBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="set GAHBENCH_CACHE to a writable folder"):
        Faces(str(folder)).shape  # noqa: B018


def test_long_decoding_reports_its_progress_and_short_decoding_does_not(folder, monkeypatch, capsys):
    Faces(str(folder), size=8).shape  # noqa: B018
    clock = iter([0, 1, 2, 9, 14, 21, 23])
    monkeypatch.setattr(cache.time, "monotonic", lambda: float(next(clock)))
    Faces(str(folder)).shape  # noqa: B018
    # Images are done after 1, 2, 9, 14, 21 and 23 seconds: a line after ten or more.
    assert capsys.readouterr().err.splitlines() == ["decoding f: 4 of 6 images, 0:00:07 left"]
