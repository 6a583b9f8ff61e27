"""Opening and deleting of files: only regular files are opened, and nothing blocks."""

from pathlib import Path

import pytest
from attack.hostile_files import make_special

from gahbench._util.files import delete_file, open_regular, read_regular


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "zero", "socket"])
def test_special_files_are_refused(kind):
    file = make_special(kind, Path("special"))
    for read in (open_regular, read_regular):
        with pytest.raises(OSError, match=rf"expected a regular file: '{file}'"):
            read(str(file))


def test_regular_files_and_links_to_them_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").symlink_to("a")
    assert read_regular(str(tmp_path / "b"), 7) == b"content"
    with pytest.raises(OSError, match="has 7 bytes; accepted: up to 6"):
        read_regular(tmp_path / "a", 6)
    with pytest.raises(OSError, match="link or special file"):
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
    for path, text in ((tmp_path / "gone", "No such file"), ("a\0b", "null (byte|character)"), ("x" * 10_000, "long")):
        with pytest.raises(OSError, match=text):
            open_regular(path)
