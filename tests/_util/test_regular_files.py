"""Opening and deleting of files: only regular files are opened, and nothing blocks."""

import os
import socket

import pytest

from gahbench._util.files import check_regular, delete_file, open_regular, read_regular


def make(kind, path):
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))


@pytest.fixture
def current_folder(tmp_path, monkeypatch):
    """The current folder, relative to which paths are short enough for a socket."""
    monkeypatch.chdir(tmp_path)
    return type(tmp_path)()


@pytest.mark.parametrize("kind", ["FIFO", "folder", "device", "socket"])
def test_special_files_are_refused(current_folder, kind):
    make(kind, current_folder / "x")
    for read in (open_regular, check_regular, read_regular):
        with pytest.raises(OSError, match=rf"is a {kind}; expected a regular file: 'x'"):
            read(current_folder / "x")


def test_regular_files_and_links_to_them_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").symlink_to("a")
    with open_regular(tmp_path / "b") as file:
        assert file.read() == b"content"
    assert read_regular(str(tmp_path / "a"), 7) == b"content"
    with pytest.raises(OSError, match="has 7 bytes; accepted: up to 6"):
        read_regular(tmp_path / "a", 6)


def test_links_are_followed_only_on_request(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to("a")
    assert read_regular(tmp_path / "b") == b"x"
    with pytest.raises(OSError, match="is a link"):
        read_regular(tmp_path / "b", follow=False)


def test_delete_file_deletes_no_folders_and_no_files_behind_links(tmp_path):
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    for parent in (folder / "own" / "kept", elsewhere):
        parent.mkdir(parents=True)
        (parent / "file").write_text("x")
    (folder / "leads").symlink_to(elsewhere)
    for name in ("own/kept", "leads/file", "nothing"):
        delete_file(folder, name)
    assert (folder / "own" / "kept" / "file").is_file()
    assert (elsewhere / "file").is_file()
    delete_file(folder, "own/kept/file")
    delete_file(folder, "leads")
    assert list((folder / "own" / "kept").iterdir()) == []
    assert not (folder / "leads").is_symlink()
    assert elsewhere.is_dir()


def test_invalid_paths_raise_os_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "gone")
    with pytest.raises(OSError, match=r"null (byte|character)"):
        open_regular("a\0b")
    with pytest.raises(OSError, match="too long"):
        open_regular("x" * 10_000)
