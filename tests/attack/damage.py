"""Damage to a results folder, as disks, people and attackers do it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from gahbench._util.sealed import sealed

from .hostile import values
from .images import make_special

#: What may stand in the place of a file or folder.
STAND_INS = ("fifo", "folder", "socket", "zero", "loop", "broken link", "link to another", "link outside")
#: What happens to a file, or a folder.
KINDS = (
    *("truncate", "flip", "insert", "empty", "delete", "rename", "swap", "copy", "chmod", *STAND_INS),
    *(3 * ("json value", "json key", "forged value", "forged key", "forged plan")),
    *("text", "text", "file name", "litter", "litter"),
)
#: Checksums agree after these: they tell of no damage, and values may differ.
FORGED = ("forged value", "forged key", "forged plan")

#: What may stand in a file instead.
texts = st.sampled_from(
    (b"", b"{", b"[]", b"null", b"NaN", b"1e999", b"9" * 5000, b'"\\ud800"', b"\xff\xfe", b"\0" * 64, b"PAR1PAR1",
     b"[" * 100_000, b'{"a":' * 100_000, b'{"files": {}}', b'{"error": ["x"]}', b'{"error": "a\\nb\\u0000\\ud800"}',
     b'{"lease": "x", "since": {}, "pid": 1e9, "losses": null}', b'{"lease": 1e300, "since": -1e300, "losses": 1e99}',
     b"sigma,image,value,part\n0.1,0,99.0,\n", b"sigma,image,value,part\n\"\n", b"PK\x03\x04")
)  # fmt: skip
names = st.sampled_from(("../x", "/etc/hosts", "a/b", "", ".", "..", "\0", "x" * 300, "done.json", "\ud800", "new.csv"))


@dataclass(frozen=True)
class Damage:
    """One fault: numbers choose a file, a second one, and (0 to 1) where in it; the value is written."""

    kind: str
    place: int
    other: int
    where: float
    value: Any


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Draw a fault."""
    kind = draw(st.sampled_from(KINDS))
    value = {"text": texts, "litter": texts, "file name": names}.get(kind, values)
    place, other = draw(st.integers(0, 10_000)), draw(st.integers(0, 10_000))
    return Damage(kind, place, other, draw(st.floats(0, 1)), draw(value))


def inflict(damage: Damage, home: Path) -> None:
    """Damage a folder."""
    # Folders too: those of units, and the rooms that hold them.
    entries = sorted(home.rglob("*"))
    if not entries:
        return
    target, other = entries[damage.place % len(entries)], entries[damage.other % len(entries)]
    if damage.kind in ("json value", "json key", *FORGED, "file name"):
        files = [entry for entry in entries if entry.suffix == ".json" and entry.is_file() and not entry.is_symlink()]
        if damage.kind == "forged plan":
            files = [file for file in files if file.name == "plan.json"]
        if files:
            _rewrite(damage, files[damage.place % len(files)])
    elif damage.kind == "litter":
        # As claims and failures of the units that there are, and as what no run leaves.
        room = ("leases", "failures", "units", "damaged", ".")[damage.other % 5]
        suffix = ".json" if room == "failures" else ""
        file = home / room / f"{target.name}{suffix}"
        if (home / room).is_dir() and not file.exists() and not file.is_symlink():
            file.write_bytes(damage.value)
    elif damage.kind in ("swap", "copy", "rename", "delete", "chmod"):
        _move(damage, target, other)
    elif damage.kind in STAND_INS:
        _stand_in(damage, target, other, home)
    elif target.is_file() and not target.is_symlink():
        _overwrite(damage, target)


def _move(damage: Damage, target: Path, other: Path) -> None:
    """Damage a file or folder by moving it, or taking its permissions away."""
    nested = target == other or target.is_relative_to(other) or other.is_relative_to(target)
    if damage.kind == "swap" and not nested:
        aside = target.with_name("aside")
        target.rename(aside)
        other.rename(target)
        aside.rename(other)
    elif damage.kind == "copy" and not nested and target.is_file() and other.is_file():
        other.write_bytes(target.read_bytes())
    elif damage.kind == "rename":
        target.rename(target.with_name(f"{target.name}~"))
    elif damage.kind == "delete":
        _remove(target)
    elif damage.kind == "chmod" and not target.is_symlink():
        target.chmod(int(damage.where * 0o777))


def _overwrite(damage: Damage, target: Path) -> None:
    """Damage the content of a file."""
    content = bytearray(target.read_bytes())
    at = int(damage.where * max(0, len(content) - 1))
    if damage.kind == "truncate":
        del content[at:]
    elif damage.kind == "flip" and content:
        content[at] ^= 1 << damage.other % 8
    elif damage.kind == "insert":
        content[at:at] = b"0"
    elif damage.kind == "empty":
        content.clear()
    elif damage.kind == "text":
        content[:] = damage.value
    # Others may be links to it.
    target.unlink()
    target.write_bytes(content)


def _stand_in(damage: Damage, target: Path, other: Path, home: Path) -> None:
    """Put something else in the place of a file or folder."""
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
    """Damage JSON; of a forged file the checksum of itself agrees, as an attacker would have it."""
    try:
        content = json.loads(file.read_bytes())
    except ValueError:
        return
    if damage.kind == "file name":
        if isinstance(content, dict) and isinstance(content.get("files"), dict):
            content["files"][damage.value] = {"bytes": 1, "sha256": "0" * 64}
    elif (place := _place(content, damage)) is not None:
        holder, key = place
        if damage.kind.endswith("value") or (damage.kind == "forged plan" and damage.other % 3):
            holder[key] = damage.value
        elif isinstance(holder, dict):
            value = holder.pop(key)
            if damage.other % 2:
                holder[str(key) + "x"] = value
        else:
            del holder[key]
    is_forged = damage.kind in FORGED
    if is_forged and isinstance(content, dict):
        content.pop("checksum", None)
    text = (json.dumps(content, indent=1) + "\n").encode()
    file.unlink()
    file.write_bytes(sealed(text) if is_forged and text.startswith(b"{\n") else text)


def _place(content: Any, damage: Damage) -> tuple[Any, Any] | None:
    """Return an object or list in a document, and a name or index of it, each level as likely as the others."""
    places: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        names = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        for name in names:
            places.append((value, name))
            visit(value[name])

    visit(content)
    return places[int(damage.where * (len(places) - 1))] if places else None
