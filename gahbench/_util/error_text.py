"""Errors, which plugins may have made, as text that any file can hold."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

_LIBRARIES = (
    Path(__file__).resolve().parents[1],
    *(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib", "platstdlib")),
)
#: Characters of an error that are kept.
MAX_ERROR = 2000


def bounded(text: str, limit: int) -> str:
    """Return text that any file can hold: the beginning and the end of one that is too long."""
    if len(text) > limit:
        text = f"{text[: limit // 2]} [...] {text[-limit // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()


def one_line(text: str, limit: int = MAX_ERROR) -> str:
    """Return text in one line that any file can hold, cut where it is too long."""
    # Texts of many megabytes are not split as a whole.
    return bounded(" ".join(text[: 4 * limit].split()), limit)


def error_text(error: BaseException) -> str:
    """Return an error in one line, ``ValueError: text``; of one whose text cannot be had, its name and why."""
    name = str(type(error).__name__)
    try:
        text = one_line(str(error))
    except BaseException as other:
        return one_line(f"{name}, whose text cannot be had: {type(other).__name__}")
    return f"{name}: {text}" if text else name


def error_with_place(error: BaseException) -> str:
    """Return an error in one line, with the file and line of a plugin that raised it, or called what raised it.

    That is the last place outside gahbench, installed packages and Python itself; without one there is none.
    """
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_file() and not any(folder in file.parents for folder in _LIBRARIES):
            return f"{error_text(error)} ({frame.filename}:{frame.lineno})"
    return error_text(error)
