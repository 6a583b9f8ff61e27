"""Tests of archives of results folders: hostile archives are refused, and write nothing outside their folder."""

import os
import stat
import zipfile

import pytest

from gahbench._util.errors import ResultsError
from gahbench.store import archive
from gahbench.store.archive import open_folder, unpack

CONTENT = {"plan.json": b"{}", "units/fit-1/weights.safetensors": bytes(range(256)) * 9, "empty": b""}


@pytest.fixture
def folder(tmp_path):
    for name, content in CONTENT.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_bytes(content)
    return tmp_path / "run"


def files_in(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def pack(folder, file):
    """Write the files of a folder to an archive, as ``zip -r`` does."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))


def test_an_unpacked_archive_has_the_files_of_the_folder_until_the_context_ends(folder, tmp_path):
    pack(folder, tmp_path / "first.zip")
    with open_folder(tmp_path / "first.zip") as copy:
        assert copy.name == "first"
        assert files_in(copy) == CONTENT
    assert not copy.exists()
    with open_folder(folder) as opened:
        assert opened == folder


def member(name, mode=stat.S_IFREG | 0o644, method=zipfile.ZIP_DEFLATED):
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = mode << 16, method
    return info


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (["../outside"], "leads out of the folder"),
        (["a/../../outside"], "leads out of the folder"),
        (["/tmp/outside"], "leads out of the folder"),
        (["C:/outside"], "leads out of the folder"),
        (["a\\..\\..\\outside"], "leads out of the folder"),
        ([member("link", stat.S_IFLNK | 0o777)], "is a link or another special file"),
        ([member("fifo", stat.S_IFIFO | 0o644)], "is a link or another special file"),
        (["plan.json", "PLAN.json"], "is in the archive twice"),
        (["a", "a/b"], "cannot be unpacked"),
        ([member("large", method=zipfile.ZIP_LZMA)], "compressed in another way"),
        ([str(number) for number in range(6)], "has 6 members; accepted: up to 5"),
        ([("a", b"x" * 600), ("b", b"x" * 600)], "unpacks to 1,200 bytes; accepted: up to 1,000"),
    ],
)
def test_hostile_archives_are_refused(tmp_path, monkeypatch, members, text):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 5)
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    file, target = tmp_path / "bad.zip", tmp_path / "inner" / "target"
    with zipfile.ZipFile(file, "w") as written:
        for item in members:
            written.writestr(*(item if isinstance(item, tuple) else (item, b"content")))
    with pytest.raises(ResultsError, match=text):
        unpack(file, target)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"bad.zip", "a"}
    assert not (tmp_path / "outside").exists()


def test_the_size_that_a_member_states_is_not_trusted(folder, tmp_path):
    (folder / "zeros").write_bytes(bytes(100_000))
    file = tmp_path / "lies.zip"
    pack(folder, file)
    content = file.read_bytes()
    assert content.count((100_000).to_bytes(4, "little")) == 2
    file.write_bytes(content.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(ResultsError, match="not an archive of results"):
        unpack(file, tmp_path / "target")


@pytest.mark.parametrize("change", ["truncated", "flipped", "text", "fifo", "absent", "encrypted"])
def test_damaged_archives_are_refused(folder, tmp_path, change):
    file = tmp_path / "damaged.zip"
    pack(folder, file)
    content = bytearray(file.read_bytes())
    if change == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif change == "flipped":
        content[content.index(b"safetensors") + 15] ^= 255
        file.write_bytes(content)
    elif change == "text":
        file.write_bytes(b"not an archive")
    elif change == "encrypted":
        directory = content.rindex(b"PK\x01\x02")
        content[directory + 8] |= 1
        file.write_bytes(content)
    else:
        file.unlink()
        if change == "fifo":
            os.mkfifo(file)
    with pytest.raises(ResultsError, match=r"damaged.zip: "):
        unpack(file, tmp_path / "target")
