"""Damage to results folders, such as by disks, people and attackers."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from .hostile import values
from .images import make_special

#: Special files that may replace a file or folder.
STAND_INS = ("fifo", "folder", "socket", "zero", "loop", "broken link", "link to another", "link outside")
#: Kinds of damage.
KINDS = (
    *("truncate", "flip", "insert", "empty", "delete", "rename", "swap", "copy", "chmod", *STAND_INS),
    *(3 * ("json value", "json key")),
    *("text", "text", "litter", "litter"),
)

#: Contents that may replace the content of a file.
texts = st.sampled_from(
    (b"", b"{", b"[]", b"null", b"NaN", b"1e999", b"9" * 5000, b'"\\ud800"', b"\xff\xfe", b"\0" * 64, b"PAR1PAR1",
     b"[" * 100_000, b'{"a":' * 100_000, b'{"files": {}}', b'{"error": ["x"]}', b'{"error": "a\\nb\\u0000\\ud800"}',
     b"sigma,image,value,part\n0.1,0,99.0,\n", b"sigma,image,value,part\n\"\n", b"PK\x03\x04")
)  # fmt: skip


@dataclass(frozen=True)
class Damage:
    """Damage of one kind.

    ``index`` chooses a file or folder, and ``other`` a second file or folder; ``position`` (0 to 1) is a position in
    the file; ``value`` is written.
    """

    kind: str
    index: int
    other: int
    position: float
    value: Any


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Draw a kind of damage with its position and value."""
    kind = draw(st.sampled_from(KINDS))
    value = texts if kind in ("text", "litter") else values
    index, other = draw(st.integers(0, 10_000)), draw(st.integers(0, 10_000))
    return Damage(kind, index, other, draw(st.floats(0, 1)), draw(value))


def inflict(damage: Damage, home: Path) -> None:
    """Damage a results folder."""
    entries = sorted(home.rglob("*"))
    if not entries:
        return
    target, other = entries[damage.index % len(entries)], entries[damage.other % len(entries)]
    if damage.kind in ("json value", "json key"):
        files = [entry for entry in entries if entry.suffix == ".json" and entry.is_file() and not entry.is_symlink()]
        if files:
            _rewrite(damage, files[damage.index % len(files)])
    elif damage.kind == "litter":
        # The file may look like a failure or folder of an existing unit.
        folder = ("precision", "failures", "units", "damaged", ".")[damage.other % 5]
        suffix = ".json" if folder == "failures" else ""
        file = home / folder / f"{target.name}{suffix}"
        if (home / folder).is_dir() and not file.exists() and not file.is_symlink():
            file.write_bytes(damage.value)
    elif damage.kind in ("swap", "copy", "rename", "delete", "chmod"):
        _move(damage, target, other)
    elif damage.kind in STAND_INS:
        _replace(damage, target, other, home)
    elif target.is_file() and not target.is_symlink():
        _overwrite(damage, target)


def _move(damage: Damage, target: Path, other: Path) -> None:
    """Move, copy or delete a file or folder, or change its permissions."""
    is_nested = target == other or target.is_relative_to(other) or other.is_relative_to(target)
    if damage.kind == "swap" and not is_nested:
        aside = target.with_name("aside")
        target.rename(aside)
        other.rename(target)
        aside.rename(other)
    elif damage.kind == "copy" and not is_nested and target.is_file() and other.is_file():
        other.write_bytes(target.read_bytes())
    elif damage.kind == "rename":
        target.rename(target.with_name(f"{target.name}~"))
    elif damage.kind == "delete":
        _remove(target)
    elif damage.kind == "chmod" and not target.is_symlink():
        target.chmod(int(damage.position * 0o777))


def _overwrite(damage: Damage, target: Path) -> None:
    """Damage the content of a file."""
    content = bytearray(target.read_bytes())
    offset = int(damage.position * max(0, len(content) - 1))
    if damage.kind == "truncate":
        del content[offset:]
    elif damage.kind == "flip" and content:
        content[offset] ^= 1 << damage.other % 8
    elif damage.kind == "insert":
        content[offset:offset] = b"0"
    elif damage.kind == "empty":
        content.clear()
    elif damage.kind == "text":
        content[:] = damage.value
    # Unlink the file first, since other files may be hard links to it.
    target.unlink()
    target.write_bytes(content)


def _replace(damage: Damage, target: Path, other: Path, home: Path) -> None:
    """Replace a file or folder by a special file."""
    _remove(target)
    if damage.kind.startswith("link "):
        target.symlink_to(other if damage.kind == "link to another" else home.parent)
    else:
        make_special(damage.kind, target)


def _remove(target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


def _rewrite(damage: Damage, file: Path) -> None:
    """Change, rename or delete a value in a JSON file."""
    try:
        content = json.loads(file.read_bytes())
    except ValueError:
        return
    if (location := _locate(content, damage)) is None:
        return
    container, key = location
    if damage.kind == "json value":
        container[key] = damage.value
    elif isinstance(container, dict):
        value = container.pop(key)
        if damage.other % 2:
            container[str(key) + "x"] = value
    else:
        del container[key]
    file.unlink()
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _locate(content: Any, damage: Damage) -> tuple[Any, Any] | None:
    """Return an object or list in a document, and a key or index in it; ``None`` if the document has neither."""
    locations: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        names = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        for name in names:
            locations.append((value, name))
            visit(value[name])

    visit(content)
    return locations[int(damage.position * (len(locations) - 1))] if locations else None
