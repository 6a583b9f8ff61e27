"""Reading files that are files, and JSON that tells of damage."""

import os
import socket

import pytest

from gahbench._util.files import delete_entry, read_regular
from gahbench._util.sealed import parse_sealed, sealed, write_sealed


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "socket"])
def test_only_files_are_read_and_nobody_waits(tmp_path, monkeypatch, kind):
    file = tmp_path / "x"
    monkeypatch.chdir(tmp_path)
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("x")
    with pytest.raises(OSError, match="expected a regular file"):
        read_regular(file)
    delete_entry(file)
    assert not os.path.lexists(file)


def test_links_are_followed_unless_they_are_not_to_be(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to("a")
    assert read_regular(tmp_path / "b") == b"x"
    with pytest.raises(OSError, match="is a link"):
        read_regular(tmp_path / "b", follow=False)
    delete_entry(tmp_path / "b")
    assert (tmp_path / "a").exists()
    delete_entry(tmp_path / "b")


def test_every_changed_byte_of_a_sealed_file_is_noticed(tmp_path):
    content = {"a": 1, "b": {"c": [0.1, None, "é"]}, "checksum of": "nothing"}
    write_sealed(tmp_path / "x.json", content)
    text = (tmp_path / "x.json").read_bytes()
    assert parse_sealed(text) == content
    for place in range(len(text) - 1):
        changed = bytearray(text)
        changed[place] ^= 1
        try:
            found = parse_sealed(bytes(changed))
        except ValueError:
            continue
        # The name of the checksum itself was hit: all else is as it was.
        assert {name: found[name] for name in content} == content
        assert len(found) == len(content) + 1


def test_an_object_of_one_line_is_not_sealed():
    with pytest.raises(ValueError, match="several lines"):
        sealed(b"{}")
