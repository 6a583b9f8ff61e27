"""Citations: the published works that plugins implement, as text and as BibTeX."""

from __future__ import annotations

import functools
import importlib.resources
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from gahbench._util.errors import suggestion
from gahbench._util.readable import escape_latex

#: Maximum number of authors in a citation as text; longer lists are shortened to the first author and "et al.".
_MAX_AUTHORS = 4
#: Words at the start of titles that keys skip.
_SMALL_WORDS = frozenset({"a", "an", "the", "on", "of"})
#: Names in BibTeX of fields of a citation, where they differ.
_FIELDS = {"author": "authors", "booktitle": "conference", "eprint": "arxiv"}


@dataclass(frozen=True)
class Citation:
    """A published work; a plugin's class lists its works in the attribute ``citation``, as one citation or a tuple.

    A string stands for the work with this key in ``plugins/papers.bib``.

    Parameters
    ----------
    authors
        Names in the format of BibTeX: ``Mohan, Sreyas and Kadkhodaie, Zahra``.
    title
        The title, as plain text.
    year
        Year of publication.
    journal
        The journal of an article. At most one of ``journal``, ``conference`` and ``publisher`` may be given.
    conference
        The conference of a paper.
    publisher
        The publisher of a book.
    arxiv
        The arXiv identifier, such as ``1906.05478``.
    doi
        The digital object identifier, such as ``10.1214/aos/1024691081``.

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
            raise ValueError(f"the year of a citation is an integer of four digits, not {self.year!r}")
        if len([venue for venue in (self.journal, self.conference, self.publisher) if venue]) > 1:
            raise ValueError(f"'{self.title}': only one of journal, conference and publisher is accepted")

    def __str__(self) -> str:
        *others, last = names = _family_names(self.authors)
        if len(names) > _MAX_AUTHORS or last == "others":
            authors = f"{names[0]} et al."
        else:
            authors = f"{', '.join(others)} & {last}" if others else last
        venue = f"{self.journal or self.conference or self.publisher} {self.year}".strip()
        identifier = [f"arXiv {self.arxiv}"] if self.arxiv else [f"doi {self.doi}"] if self.doi else []
        return ", ".join([authors, self.title, venue, *identifier])

    @property
    def key(self) -> str:
        """The BibTeX key: family name, year, and first word of the title, such as ``mohan2020robust``."""
        family, title = (
            unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
            for text in (_family_names(self.authors)[0], self.title)
        )
        word = next((word for word in re.findall(r"\w+", title) if word not in _SMALL_WORDS), "")
        return f"{re.sub(r'[^a-z]', '', family)}{self.year}{word}"

    def bibtex(self, key: str | None = None) -> str:
        """Return a BibTeX entry, under :attr:`key` by default."""
        kinds = {"article": self.journal, "inproceedings": self.conference, "book": self.publisher}
        kind = next((kind for kind, venue in kinds.items() if venue), "misc")
        names = ("author", "title", "journal", "booktitle", "publisher")
        fields = {name: escape_latex(getattr(self, _FIELDS.get(name, name))) for name in names}
        # Braces make BibTeX keep capitals.
        fields |= {"title": f"{{{fields['title']}}}", "year": str(self.year), "eprint": self.arxiv}
        fields |= {"archiveprefix": "arXiv" if self.arxiv else "", "doi": self.doi}
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
        return "\n".join([f"@{kind}{{{key or self.key},", *lines, "}"])


#: A work, or its key in ``papers.bib``.
Work: TypeAlias = str | Citation


@functools.cache
def known_works() -> dict[str, Citation]:
    """Return the works in ``papers.bib`` of the built-in plugins by key."""
    text = (importlib.resources.files("gahbench_plugins") / "papers.bib").read_text(encoding="utf-8")
    works = {}
    for key, entry in re.findall(r"^@\w+{([^,]+),(.*?})}$", text, re.MULTILINE | re.DOTALL):
        fields = re.findall(r"(\w+) = {(.*?)}", entry, re.DOTALL)
        values: dict[str, Any] = {_FIELDS.get(name, name): " ".join(value.split()) for name, value in fields}
        works[key] = Citation(**{**values, "year": int(values["year"])})
    return works


def as_citation(work: object) -> Citation:
    """Return a work that is given as a citation, or by its key in ``papers.bib``."""
    found = known_works().get(work) if isinstance(work, str) else work
    if not isinstance(found, Citation):
        closest = suggestion(str(work), known_works())
        raise ValueError(f"{work!r}; accepted: a gahbench.Citation, or a key of plugins/papers.bib{closest}")
    return found


def bibliography(works: Iterable[Citation]) -> str:
    """Return works as BibTeX, without duplicates, sorted by key; repeated keys get a distinguishing number."""
    entries, counts = [], Counter[str]()
    for work in sorted(set(works), key=lambda work: (work.key, str(work))):
        counts[work.key] += 1
        entries.append(work.bibtex(work.key if counts[work.key] == 1 else f"{work.key}-{counts[work.key]}"))
    return "\n\n".join(entries) + "\n" if entries else ""


def _family_names(authors: str) -> list[str]:
    """Return the part of each name before the comma, or the last word."""
    names = (author.partition(",") for author in re.split(r"\s+and\s+", authors.strip()))
    return [(family if comma else family.split()[-1]).strip("{} ") for family, comma, _ in names]
