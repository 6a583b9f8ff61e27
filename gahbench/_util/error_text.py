"""Conversion of errors of plugins to safe text."""

from __future__ import annotations

import re
import sysconfig
import traceback
from pathlib import Path

from gahbench._util.readable import brief

_PACKAGE = Path(__file__).resolve().parents[1]
_STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
#: Paths of installed packages and of Python, possibly on another machine.
_INSTALLED = re.compile(r"^<|/(site-packages|dist-packages|lib(64)?/python3\.\d+)/")
#: A frame of a traceback, with its lines of code.
_FRAME = re.compile(r'  File "(.+)", line \d+.*\n(?:    .*\n|  \[Previous line .*\n)*')
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
        file = Path(frame.filename)
        if file.is_file() and not _is_library(file):
            return f"{error_text(error)} ({frame.filename}:{frame.lineno})"
    return error_text(error)


def remove_library_frames(text: str) -> str:
    """Remove the frames of gahbench, installed packages and Python from a traceback, unless no frame is left."""
    own = _FRAME.sub(lambda frame: "" if _is_library(Path(frame[1])) else frame[0], text)
    return own if _FRAME.search(own) else text


def _is_library(file: Path) -> bool:
    """Return whether a file of a traceback, possibly from another machine, is part of gahbench, a package or Python."""
    if _INSTALLED.search(file.as_posix()) or _STANDARD_LIBRARY in file.parents:
        return True
    folders = [folder for folder in file.parents if folder.name == _PACKAGE.name]
    return any((_PACKAGE / file.relative_to(folder)).is_file() for folder in folders)
