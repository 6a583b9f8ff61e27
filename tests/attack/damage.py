"""Damage to results folders, such as by disks, people and attackers."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from .hostile import values
from .hostile_files import CONTENTS, make_special

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
    [*CONTENTS.values(), b"PAR1PAR1", b'{"error": ["x"]}', b"sigma,image,value,part\n0.1,0,99.0,\n",
     b"sigma,image,value,part\n\"\n", b"PK\x03\x04"]
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
    entries, kind = sorted(home.rglob("*")), damage.kind
    if kind in ("json value", "json key"):
        entries = [entry for entry in entries if entry.suffix == ".json" and entry.is_file() and not entry.is_symlink()]
    if not entries:
        return
    target, other = entries[damage.index % len(entries)], entries[damage.other % len(entries)]
    is_file = target.is_file() and not target.is_symlink()
    is_nested = target == other or target.is_relative_to(other) or other.is_relative_to(target)
    if kind in ("json value", "json key"):
        _rewrite(damage, target)
    elif kind == "litter":
        # The file may look like a failure or folder of an existing unit.
        folder = ("failures", "units", "damaged", ".")[damage.other % 4]
        file = home / folder / f"{target.name}{'.json' if folder == 'failures' else ''}"
        if (home / folder).is_dir() and not file.exists() and not file.is_symlink():
            file.write_bytes(damage.value)
    elif kind == "swap" and not is_nested:
        aside = target.with_name("aside")
        target.rename(aside)
        other.rename(target)
        aside.rename(other)
    elif kind == "copy" and not is_nested and target.is_file() and other.is_file():
        other.write_bytes(target.read_bytes())
    elif kind == "rename":
        target.rename(target.with_name(f"{target.name}~"))
    elif kind == "chmod" and not target.is_symlink():
        target.chmod(int(damage.position * 0o777))
    elif kind == "delete" or kind in STAND_INS:
        shutil.rmtree(target) if target.is_dir() and not target.is_symlink() else target.unlink(missing_ok=True)
        if kind.startswith("link "):
            target.symlink_to(other if kind == "link to another" else home.parent)
        elif kind != "delete":
            make_special(kind, target)
    elif kind in ("truncate", "flip", "insert", "empty", "text") and is_file:
        content = bytearray(target.read_bytes())
        offset = int(damage.position * max(0, len(content) - 1))
        if kind == "truncate":
            del content[offset:]
        elif kind == "flip" and content:
            content[offset] ^= 1 << damage.other % 8
        elif kind == "insert":
            content[offset:offset] = b"0"
        elif kind != "flip":
            content[:] = damage.value if kind == "text" else b""
        # Unlink the file first, since other files may be hard links to it.
        target.unlink()
        target.write_bytes(content)


def _rewrite(damage: Damage, file: Path) -> None:
    """Change, rename or delete a value in a JSON file."""
    locations: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        names = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        for name in names:
            locations.append((value, name))
            visit(value[name])

    try:
        content = json.loads(file.read_bytes())
    except ValueError:
        return
    visit(content)
    if not locations:
        return
    container, key = locations[int(damage.position * (len(locations) - 1))]
    if damage.kind == "json value":
        container[key] = damage.value
    else:
        value = container.pop(key)
        if isinstance(container, dict) and damage.other % 2:
            container[str(key) + "x"] = value
    file.unlink()
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
