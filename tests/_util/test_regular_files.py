"""Only regular files are opened, and none for longer than it takes."""

import os
import socket
import threading

import pytest

from gahbench._util.files import check_regular, delete_entry, delete_file, flush, open_regular, read_regular


def make(kind, path):
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))


@pytest.fixture
def near(tmp_path, monkeypatch):
    """A folder whose files have paths that are short enough for a socket."""
    monkeypatch.chdir(tmp_path)
    return type(tmp_path)()


@pytest.mark.parametrize("kind", ["FIFO", "folder", "device", "socket"])
def test_what_is_no_regular_file_is_refused_by_its_kind_and_any_entry_is_deleted(near, kind):
    make(kind, near / "x")
    for read in (open_regular, check_regular, read_regular):
        with pytest.raises(OSError, match=rf"is a {kind}; expected a regular file: 'x'"):
            read(near / "x")
    delete_entry(near / "x")
    assert not os.path.lexists(near / "x")


def test_regular_files_and_links_to_them_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").symlink_to("a")
    with open_regular(tmp_path / "b") as file:
        assert file.read() == b"content"
    assert read_regular(str(tmp_path / "a"), 7) == b"content"
    with pytest.raises(OSError, match="has 7 bytes; accepted: up to 6"):
        read_regular(tmp_path / "a", 6)


def test_links_are_followed_unless_they_are_not_to_be(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to("a")
    assert read_regular(tmp_path / "b") == b"x"
    with pytest.raises(OSError, match="is a link"):
        read_regular(tmp_path / "b", follow=False)
    delete_entry(tmp_path / "b")
    assert (tmp_path / "a").exists()
    delete_entry(tmp_path / "b")


def test_a_list_of_files_deletes_files_alone_and_none_behind_a_link(tmp_path):
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    for place in (folder / "own" / "kept", elsewhere):
        place.mkdir(parents=True)
        (place / "file").write_text("x")
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


def test_a_fifo_is_flushed_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    flushing = threading.Thread(target=flush, args=(tmp_path / "fifo",), daemon=True)
    flushing.start()
    flushing.join(10)
    assert not flushing.is_alive()


def test_paths_of_nothing_are_errors_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "gone")
    with pytest.raises(OSError, match="null byte"):
        open_regular("a\0b")
    with pytest.raises(OSError, match="too long"):
        open_regular("x" * 10_000)
