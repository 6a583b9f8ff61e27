"""JSON that tells of damage."""

from gahbench._util.sealed import parse_sealed, write_sealed


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
