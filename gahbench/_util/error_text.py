"""Conversion of errors of plugins to safe text."""

from __future__ import annotations

import re
import sysconfig
import traceback
from pathlib import Path

_LIBRARIES = (
    Path(__file__).resolve().parents[1],
    *(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib", "platstdlib")),
)
_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r'  File "(.+)", line \d+')
_STANDARD_LIBRARY = re.compile(r"/lib(64)?/python3\.\d+/")
#: Maximum number of characters of an error.
MAX_ERROR = 2000


def shorten(text: str, limit: int) -> str:
    """Return text that can be encoded as UTF-8, without the middle of long text."""
    if len(text) > limit:
        text = f"{text[: limit // 2]} [...] {text[-limit // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()


def one_line(text: str, limit: int = MAX_ERROR) -> str:
    """Return text as a single line that can be encoded as UTF-8, without the middle of long text."""
    # Avoid splitting many megabytes of text.
    return shorten(" ".join(text[: 4 * limit].split()), limit)


def error_text(error: BaseException) -> str:
    """Format an error as ``ValueError: text``; if converting it to text fails, give the reason."""
    name = str(type(error).__name__)
    try:
        text = one_line(str(error))
    except BaseException as other:
        return one_line(f"{name}, whose text is not available: {type(other).__name__}")
    return f"{name}: {text}" if text else name


def error_with_location(error: BaseException) -> str:
    """Format an error with the file and line of the innermost frame outside gahbench and libraries."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_file() and not _is_library(file):
            return f"{error_text(error)} ({frame.filename}:{frame.lineno})"
    return error_text(error)


def remove_library_frames(text: str) -> str:
    """Remove the frames of gahbench, installed packages and Python from a traceback."""
    kept: list[str] = []
    has_own_line = in_frames = is_kept = False
    for line in text.splitlines():
        if line == _TRACEBACK:
            in_frames, is_kept = True, True
        elif in_frames and (frame := _FRAME.match(line)):
            is_kept = not _is_library(Path(frame[1]))
            has_own_line |= is_kept
        elif in_frames and not line.startswith("  "):
            in_frames, is_kept = False, True
        if is_kept or not in_frames:
            kept.append(line)
    return "\n".join(kept) if has_own_line else text


def _is_library(file: Path) -> bool:
    """Return whether a file of a traceback, possibly from another machine, is part of gahbench, a package or Python."""
    if any(folder in file.parents for folder in _LIBRARIES) or str(file).startswith("<"):
        return True
    if {"site-packages", "dist-packages"}.intersection(file.parts) or _STANDARD_LIBRARY.search(file.as_posix()):
        return True
    inner_paths = [file.parts[index + 1 :] for index, part in enumerate(file.parts) if part == _LIBRARIES[0].name]
    return any(parts and _LIBRARIES[0].joinpath(*parts).is_file() for parts in inner_paths)
