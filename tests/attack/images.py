"""Hostile image files, folders and archives, for every reader of images."""

from __future__ import annotations

import io
import os
import socket
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from hypothesis import strategies as st

from gahbench._util.errors import DataError
from gahbench.contracts.datasets import SPLITS, Dataset
from gahbench.explore.preview import preview
from gahbench.registry.registry import open_registry
from gahbench.registry.spec import Spec

from .array_files import Hostile, array_files
from .harness import Campaign, accept_errors
from .hostile import texts
from .image_bytes import DAMAGES, damage_bytes, picture, pictures

#: Maximum number of pixels of images in previews, which draw the noise of 64 images.
MAX_PREVIEW_PIXELS = 1 << 14
#: Kinds of entries of a folder other than readable files.
SPECIAL = ("fifo", "socket", "folder", "broken link", "link", "loop", "device", "zero", "missing", "forbidden")
LISTS = ("list_eval_partition.txt", "list_eval_partition.csv", "identity_CelebA.txt")


@dataclass(frozen=True)
class Case:
    """A folder or file of images, and the reader: a dataset, or ``preview``, with parameters.

    The kind is ``folder``, ``zip``, ``parquet``, ``file``, ``special``, or ``text`` for an arbitrary path. Files are
    names and contents; for ``special``, the name is the kind of special file and its suffix. The damage affects an
    archive or table.
    """

    kind: str
    files: list[tuple[str, bytes]]
    reader: str
    parameters: dict[str, Any] = field(default_factory=dict)
    damage: tuple[str, int] = ("none", 0)


def attempt(case: Case, scratch: Path) -> None:
    """Read images like commands and Python; no code in the files may run."""
    path = _write_case(case, scratch)
    with accept_errors():
        _read(case, path)
    assert not (scratch / Hostile.marker).exists(), "a payload ran"


def _read(case: Case, path: str) -> None:
    name = "faces" if case.reader == "preview" else case.reader
    configured = open_registry().configure("dataset", Spec(name, (), {"path": path, **case.parameters}))
    if case.reader == "preview":
        dataset: Dataset = configured.build()
        if dataset.shape[1] * dataset.shape[2] <= MAX_PREVIEW_PIXELS:
            preview(configured.text, (0.1,), split="train")
        return
    dataset = configured.build()
    dataset.missing()
    dataset.prepare()
    assert len(str(dataset.fingerprint())) == 64
    for split in SPLITS:
        available = dataset.available(split)
        count = 2 if available is None else min(2, available)
        images = dataset.images(split, count)
        assert images.shape == (count, *dataset.shape)
        assert images.isfinite().all()
        assert count == 0 or (images.min() >= 0 and images.max() <= 1)
        if available is not None:
            try:
                dataset.images(split, available + 1)
            except DataError:
                continue
            raise AssertionError("more images were returned than are available")


def _write_case(case: Case, scratch: Path) -> str:
    """Write the files of a case and return the path to read."""
    if case.kind == "text":
        return case.files[0][0]
    if case.kind == "special":
        kind, suffix = case.files[0][0].split(",")
        return str(make_special(kind, scratch / f"images{suffix}"))
    if case.kind == "file":
        suffix, content = case.files[0]
        return str(_write_file(scratch / f"images{suffix}", content))
    if case.kind == "folder":
        folder = scratch / "folder"
        folder.mkdir()
        for name, content in case.files:
            if name.partition(",")[0] in SPECIAL:
                make_special(name.partition(",")[0], folder / f"special{name.partition(',')[2]}")
            elif (file := _path_inside(folder, name)) is not None:
                _write_file(file, content)
        return str(folder)
    buffer = io.BytesIO()
    if case.kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in case.files:
                archive.writestr(zipfile.ZipInfo(name[:1000].encode("utf-8", "replace").decode()), content)
    else:
        column = [content if number % 5 < 4 else None for number, (_, content) in enumerate(case.files)]
        names = pyarrow.array(range(len(column)), pyarrow.int64())
        table = pyarrow.table({"image": pyarrow.array(column, pyarrow.binary()), "identity": names})
        pyarrow.parquet.write_table(table, buffer, row_group_size=3)
    return str(_write_file(scratch / f"images.{case.kind}", damage_bytes(buffer.getvalue(), *case.damage)))


def _path_inside(folder: Path, name: str) -> Path | None:
    """Return the path of a name in a folder; ``None`` if a file cannot have this name."""
    safe = "/".join([part for part in name.replace("\0", "").split("/") if part not in ("", ".", "..")][:6])
    try:
        file = folder / safe
        os.fsencode(file)
        file.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError):
        return None
    return file if safe and len(os.fsencode(file.name)) < 250 and not file.exists() else None


def _write_file(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


def make_special(kind: str, path: Path) -> Path:
    """Create a special or unreadable file and return its path."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        # The path of a socket must be short, so bind it in the current folder and move it.
        with socket.socket(socket.AF_UNIX) as unix_socket:
            unix_socket.bind("socket")
            Path("socket").rename(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "broken link":
        path.symlink_to("nowhere")
    elif kind == "link":
        _write_file(path.with_name("target"), picture("PNG", "RGB", 24, 24, 0))
        path.symlink_to("target")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "forbidden":
        _write_file(path, b"").chmod(0)
    elif kind != "missing":
        path.symlink_to("/dev/null" if kind == "device" else "/dev/zero")
    return path


def _valid_images(number: int) -> list[tuple[str, bytes]]:
    """Return valid images, so that readers read the whole folder."""
    return [(f"{index}.png", picture("PNG", "RGB", 24, 24, number + index)) for index in range(8)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw image files, most of them hostile, and a reader."""
    reader = draw(st.sampled_from(("faces", "photos", "whole", "preview")))
    parameters: dict[str, Any] = {}
    if draw(st.booleans()):
        parameters["colour"] = draw(st.sampled_from(("mean", "luma", "rgb")))
    if reader in ("faces", "photos", "preview"):
        parameters["size"] = draw(st.sampled_from((8, 8, 12, 22, 24, 40)))
    if reader in ("faces", "preview") and draw(st.booleans()):
        parameters["test"] = draw(st.sampled_from((1, 2, 100)))
    suffixes = st.sampled_from((".png", ".jpg", ".npy", ".npz", ".pt", ".zip", ".parquet", ".txt", ""))
    single = ("file", "file", "special", "text")
    several = ("folder", "folder", "zip", "zip", "parquet")
    kind = draw(st.sampled_from(single + several))
    if kind == "text":
        return Case(kind, [(draw(texts), b"")], reader, parameters)
    if kind == "special":
        return Case(kind, [(f"{draw(st.sampled_from(SPECIAL))},{draw(suffixes)}", b"")], reader, parameters)
    if kind == "file":
        suffix, content = draw(st.one_of(array_files(), pictures()))
        suffix = suffix if draw(st.integers(0, 5)) else draw(suffixes)
        return Case(kind, [(suffix, content)], reader, parameters)
    files = _valid_images(draw(st.integers(0, 100))) if draw(st.integers(0, 5)) else []
    for index in range(draw(st.integers(0, 3))):
        suffix, content = draw(pictures())
        name = draw(st.sampled_from((f"x{index}", f"a/x{index}", f"a/b/c/x{index}", f"../x{index}", "0")) | texts)
        files.append((name + (suffix if draw(st.integers(0, 5)) else ".png"), content))
    if draw(st.integers(0, 5)) == 0:
        files.append((f"{draw(st.sampled_from(SPECIAL))},{draw(suffixes)}", b""))
    if draw(st.integers(0, 5)) == 0:
        lines = [f"{name} {index % 4}" for index, (name, _) in enumerate(files)]
        text = "\n".join([*lines, draw(texts)]).encode("utf-8", "replace")
        files.append((draw(st.sampled_from(LISTS)), text))
    return Case(kind, files, reader, parameters, (draw(st.sampled_from(DAMAGES)), draw(st.integers(0, 1000))))


def load_everything() -> None:
    """Import the modules that readers of images need."""
    registry = open_registry()
    for name in ("faces", "photos", "whole"):
        registry.configure("dataset", name)


CAMPAIGN = Campaign("images", cases(), attempt, prepare=load_everything)
