"""Citations: the published works that plugins follow, as text and as BibTeX."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from gahbench._util.latex import escaped, with_accents

#: Authors that a text names before it says "et al.".
_NAMED = 4
_SMALL = frozenset({"a", "an", "the", "on", "of"})


@dataclass(frozen=True)
class Citation:
    """A published work; a plugin's class lists the works that it follows as ``citation``: one work, or a tuple.

    Parameters
    ----------
    authors
        As BibTeX has them: ``Mohan, Sreyas and Kadkhodaie, Zahra``.
    title
        The title, as plain text.
    year
        Year of publication.
    journal, conference, publisher
        The venue of an article, a conference paper, or a book: at most one; none for a preprint.
    arxiv
        The arXiv identifier, ``1906.05478``.
    doi
        The digital object identifier, ``10.1214/aos/1024691081``.

    Raises
    ------
    ValueError
        If authors or title are missing, the year is invalid, or more than one venue is given.

    Examples
    --------
    >>> from gahbench import Citation
    >>> work = Citation("Wallace, Gregory K.", "The JPEG still picture compression standard", 1992, journal="IEEE TCE")
    >>> print(work)
    Wallace, The JPEG still picture compression standard, IEEE TCE 1992
    """

    authors: str
    title: str
    year: int
    journal: str = ""
    conference: str = ""
    publisher: str = ""
    arxiv: str = ""
    doi: str = ""

    def __post_init__(self) -> None:
        if not (self.authors.strip() and self.title.strip()):
            raise ValueError(f"a citation needs authors and a title, not {self.authors!r} and {self.title!r}")
        if not (isinstance(self.year, int) and 1000 <= self.year <= 9999):
            raise ValueError(f"the year of a citation is a whole number of four digits, not {self.year!r}")
        if len([place for place in (self.journal, self.conference, self.publisher) if place]) > 1:
            raise ValueError(f"'{self.title}': a journal, a conference or a publisher is accepted, not several of them")

    @property
    def families(self) -> list[str]:
        """Family names of the authors."""
        return [_family(author) for author in re.split(r"\s+and\s+", self.authors.strip())]

    def __str__(self) -> str:
        names = self.families
        if len(names) > _NAMED or "others" in names:
            by = f"{names[0]} et al."
        else:
            by = " & ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
        place = f"{self.journal or self.conference or self.publisher} {self.year}".strip()
        numbers = [f"arXiv {self.arxiv}"] if self.arxiv else [f"doi {self.doi}"] if self.doi else []
        return ", ".join([by, self.title, place, *numbers])

    @property
    def key(self) -> str:
        """The key in a bibliography: family name, year, and first word of the title, such as ``mohan2020robust``."""
        words = re.split(r"[^\w]+", _plain(self.title).lower())
        word = next((word for word in words if word and word not in _SMALL), "")
        return f"{re.sub(r'[^a-z]', '', _plain(self.families[0]).lower())}{self.year}{word}"

    def bibtex(self, key: str | None = None) -> str:
        """Return a BibTeX entry, under :attr:`key` by default."""
        kind = (
            "article" if self.journal else "inproceedings" if self.conference else "book" if self.publisher else "misc"
        )
        fields = {
            "author": with_accents(escaped(self.authors)),
            # Braces keep capitals.
            "title": f"{{{with_accents(escaped(self.title))}}}",
            "journal": with_accents(escaped(self.journal)),
            "booktitle": with_accents(escaped(self.conference)),
            "publisher": with_accents(escaped(self.publisher)),
            "year": str(self.year),
            "eprint": self.arxiv,
            "archiveprefix": "arXiv" if self.arxiv else "",
            "doi": self.doi,
        }
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
        return "\n".join([f"@{kind}{{{key or self.key},", *lines, "}"])


#: Type of the attribute ``citation`` of a plugin's class.
Citations = Citation | tuple[Citation, ...] | None


def bibliography(works: Iterable[Citation]) -> str:
    """Return works as BibTeX, without duplicates, sorted by their keys, which letters make distinct."""
    entries: dict[str, str] = {}
    for work in sorted(dict.fromkeys(works), key=lambda work: (work.key, str(work))):
        letters = (f"{work.key}{chr(98 + number)}" for number in range(25))
        keys = itertools.chain([work.key], letters, (f"{work.key}-{number}" for number in itertools.count(27)))
        key = next(key for key in keys if key not in entries)
        entries[key] = work.bibtex(key)
    return "\n\n".join(entries.values()) + "\n" if entries else ""


def _family(author: str) -> str:
    """Return the family name of an author: the part before the comma, or the last word."""
    family, comma, _ = author.partition(",")
    return (family if comma else author.split()[-1]).strip("{} ")


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
