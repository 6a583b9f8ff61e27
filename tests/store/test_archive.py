"""Tests of archives of results folders: hostile archives are refused, or write nothing outside their folder."""

import stat
import zipfile

import pytest

from gahbench._util.errors import ResultsError
from gahbench.store import archive
from gahbench.store.archive import open_folder


def pack(file, members):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_archive_is_a_folder_until_the_context_ends(tmp_path):
    content = {"plan.json": b"{}", "units/fit-1/weights.safetensors": bytes(range(256)) * 9, "empty": b""}
    with open_folder(pack(tmp_path / "first.zip", content)) as copy:
        assert copy.name == "first"
        assert files_in(copy) == content
    assert not copy.exists()
    with open_folder(tmp_path) as opened:
        assert opened == tmp_path


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/tmp/outside", "link", "fifo"])
def test_members_are_written_as_regular_files_inside_the_folder(tmp_path, monkeypatch, name):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    member = zipfile.ZipInfo(name)
    member.external_attr = {"link": stat.S_IFLNK, "fifo": stat.S_IFIFO}.get(name, stat.S_IFREG) << 16
    with open_folder(pack(tmp_path / "bad.zip", {member: b"/etc/passwd"})) as folder:
        assert list(files_in(folder).values()) == [b"/etc/passwd"]
        assert not any(path.is_symlink() for path in folder.rglob("*"))
        assert {path.name for path in tmp_path.iterdir()} == {"bad.zip", folder.parent.name}


@pytest.mark.parametrize("change", ["truncated", "flipped", "text", "encrypted", "lies", "many", "large", "nested"])
def test_damaged_and_large_archives_are_refused(tmp_path, monkeypatch, change):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 5)
    monkeypatch.setattr(archive, "MAX_BYTES", 200_000)
    members = {
        "many": dict.fromkeys("abcdef", b""),
        "large": {"a": bytes(100_001), "b": bytes(100_001)},
        "nested": {"a": b"", "a/b": b""},
    }
    file = pack(tmp_path / "bad.zip", members.get(change, {"zeros": bytes(100_000), "name": bytes(range(256))}))
    content = bytearray(file.read_bytes())
    if change == "truncated":
        del content[len(content) // 2 :]
    elif change == "flipped":
        content[content.index(b"name") + 20] ^= 255
    elif change == "text":
        content[:] = b"not an archive"
    elif change == "encrypted":
        content[content.rindex(b"PK\x01\x02") + 8] |= 1
    elif change == "lies":
        # The size that a member states is not trusted.
        content = content.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    file.write_bytes(content)
    with pytest.raises(ResultsError, match=r"bad\.zip: cannot be unpacked"), open_folder(file):
        pass
