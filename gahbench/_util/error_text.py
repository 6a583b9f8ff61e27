"""Conversion of errors of plugins to safe text."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from gahbench._util.readable import brief

#: The frames of a traceback with their lines of code; the first group is the file.
_FRAMES = re.compile(r'  File "(.+)", line \d+.*\n(?:    .*\n|  \[Previous line .*\n)*')
_PACKAGES = "|".join(folder.name for folder in Path(__file__).parents[1].iterdir() if folder.is_dir())
#: Files of gahbench, installed packages and Python, possibly on another machine.
_LIBRARY = re.compile(rf"^<|/gahbench/({_PACKAGES})/|/(site|dist)-packages/|/lib(64)?/python3\.\d+/")
#: Maximum number of characters of an error.
MAX_ERROR = 2000


def error_text(error: BaseException) -> str:
    """Format an error as ``ValueError: text``; if converting it to text fails, give the reason."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException as other:
        return f"{name}, whose text is not available: {type(other).__name__}"
    return f"{name}: {brief(text, MAX_ERROR)}" if text.strip() else name


def error_with_location(error: BaseException) -> str:
    """Format an error with the file and line of the innermost frame outside gahbench and libraries."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not _is_library(frame.filename) and Path(frame.filename).is_file():
            return f"{error_text(error)} ({frame.filename}:{frame.lineno})"
    return error_text(error)


def remove_library_frames(text: str) -> str:
    """Remove the frames of gahbench, installed packages and Python from a traceback, unless no other frame is left."""
    trimmed = _FRAMES.sub(lambda frame: "" if _is_library(frame[1]) else frame[0], text)
    return trimmed if _FRAMES.search(trimmed) else text


def _is_library(file: str) -> bool:
    return _LIBRARY.search(file.replace("\\", "/")) is not None
