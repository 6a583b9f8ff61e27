"""Conversion of text to LaTeX."""

from __future__ import annotations

import unicodedata

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$", "–": "--", "σ": r"$\sigma$",
    "α": r"$\alpha$",
}  # fmt: skip
#: LaTeX commands of combining accents.
_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030c": "v", "\u0327": "c"}


def escape_latex(text: str) -> str:
    """Escape special characters of LaTeX, and replace symbols with commands."""
    return "".join(_SPECIAL.get(char, char) for char in text)


def encode_accents(text: str) -> str:
    r"""Replace accented letters with commands that every version of BibTeX reads: ``{\'{e}}`` for é."""
    encoded = ""
    for char in unicodedata.normalize("NFC", text):
        letter, *marks = list(unicodedata.normalize("NFD", char))
        is_known = len(marks) == 1 and marks[0] in _ACCENTS
        encoded += f"{{\\{_ACCENTS[marks[0]]}{{{letter}}}}}" if is_known else char
    return encoded
