"""Plugins that could not be loaded."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path

from gahbench._util.error_text import error_text

#: Errors raised here are about a call in the plugin's own file.
_GAHBENCH = Path(__file__).parents[1]


@dataclass(frozen=True)
class Problem:
    """A plugin that could not be loaded or registered: it is listed with its error and breaks nothing else."""

    origin: str
    error: str
    line: int | None = None
    is_loaded: bool = True

    @classmethod
    def of(cls, origin: str, error: BaseException) -> Problem:
        """Return the problem that an exception made, with the line of the file, and of another that raised it."""
        reason = error_text(error)
        if isinstance(error, SyntaxError) and error.filename == origin:
            return cls(origin, f"SyntaxError: {error.msg}", error.lineno, False)
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == origin), None)
        last = frames[-1] if frames else None
        if line is not None and last is not None and last.filename != origin:
            # A file beside it, or a library; a syntax error names its place itself.
            outside = _GAHBENCH not in Path(last.filename).parents and not isinstance(error, SyntaxError)
            reason += f" (raised at {last.filename}:{last.lineno})" if outside else ""
        return cls(origin, reason, line, False)

    @property
    def place(self) -> str:
        """Its origin, with the line."""
        return self.origin if self.line is None else f"{self.origin}:{self.line}"
