"""Hostile image files and folders, for every reader of images."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from gahbench._util.errors import DataError
from gahbench.contracts.datasets import SPLITS, Dataset
from gahbench.explore.preview import preview
from gahbench.registry.registry import open_registry
from gahbench.registry.spec import Spec

from .array_files import Hostile, array_files
from .harness import Campaign, accept_errors
from .hostile import texts
from .hostile_files import SPECIAL, make_special
from .image_bytes import picture, pictures

#: Maximum number of pixels of images in previews, which draw the noise of 64 images.
MAX_PREVIEW_PIXELS = 1 << 14


@dataclass(frozen=True)
class Case:
    """A folder or file of images, and the reader: a dataset, or ``preview``, with parameters.

    The kind is ``folder``, ``file``, or ``text`` for an arbitrary path. Files are names and contents; the name of a
    special file is its kind and its suffix.
    """

    kind: str
    files: list[tuple[str, bytes]]
    reader: str
    parameters: dict[str, Any] = field(default_factory=dict)


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
    folder = scratch / "folder"
    folder.mkdir()
    path = folder
    for name, content in case.files:
        special, _, suffix = name.partition(",")
        if special in SPECIAL:
            path = make_special(special, folder / f"special{suffix}", picture("PNG", "RGB", 24, 24, 0))
        elif (file := _path_inside(folder, name)) is not None:
            path = file
            file.write_bytes(content)
    return str(folder if case.kind == "folder" else path)


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
    suffixes = st.sampled_from((".png", ".jpg", ".npy", ".npz", ".txt", ""))
    single = ("file", "file", "special", "text")
    kind = draw(st.sampled_from((*single, "folder", "folder", "folder", "folder")))
    if kind == "text":
        return Case(kind, [(draw(texts), b"")], reader, parameters)
    if kind == "special":
        return Case("file", [(f"{draw(st.sampled_from(SPECIAL))},{draw(suffixes)}", b"")], reader, parameters)
    if kind == "file":
        suffix, content = draw(st.one_of(array_files(), pictures()))
        suffix = suffix if draw(st.integers(0, 5)) else draw(suffixes)
        return Case(kind, [(f"images{suffix}", content)], reader, parameters)
    files = _valid_images(draw(st.integers(0, 100))) if draw(st.integers(0, 5)) else []
    for index in range(draw(st.integers(0, 3))):
        suffix, content = draw(pictures())
        name = draw(st.sampled_from((f"x{index}", f"a/x{index}", f"a/b/c/x{index}", f"../x{index}", "0")) | texts)
        files.append((name + (suffix if draw(st.integers(0, 5)) else ".png"), content))
    if draw(st.integers(0, 5)) == 0:
        files.append((f"{draw(st.sampled_from(SPECIAL))},{draw(suffixes)}", b""))
    return Case(kind, files, reader, parameters)


def load_everything() -> None:
    """Import the modules that readers of images need."""
    registry = open_registry()
    for name in ("faces", "photos", "whole"):
        registry.configure("dataset", name)


CAMPAIGN = Campaign(cases(), attempt, prepare=load_everything)
