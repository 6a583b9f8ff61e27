"""Files that are read, deleted and sealed, and keys of documents."""

from pathlib import Path

import pytest
from attack.hostile_files import make_special

from gahbench._util.files import delete_file, open_regular, read_regular
from gahbench._util.records import canonical, key_of, parse_sealed, write_sealed


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


def test_the_order_of_names_does_not_change_keys_but_the_order_of_values_does():
    assert canonical({"b": 1, "a": [2, 1]}) == '{"a":[2,1],"b":1}'
    assert key_of({"b": 1, "a": 2}) == key_of({"a": 2, "b": 1}) != key_of({"a": 1, "b": 2})
    assert key_of([1, 2]) == key_of((1, 2)) != key_of([2, 1])
    # The first 20 digits of the SHA-256 of "{}".
    assert key_of({}) == "44136fa355b3678a1146"
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            key_of({"a": value})


def test_every_changed_byte_of_a_sealed_file_is_detected(tmp_path):
    content = {"a": 1, "b": {"c": [0.1, None, "é"]}, "checksum of": "nothing"}
    write_sealed(tmp_path / "x.json", content)
    text = (tmp_path / "x.json").read_bytes()
    assert parse_sealed(text) == content
    for index in range(len(text) - 1):
        changed = bytearray(text)
        changed[index] ^= 1
        try:
            parsed = parse_sealed(bytes(changed))
        except ValueError:
            continue
        # If the change hits the name of the checksum, the content is unchanged.
        assert {name: parsed[name] for name in content} == content
        assert len(parsed) == len(content) + 1
