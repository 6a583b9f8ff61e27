"""Citations as text and as BibTeX."""

import re

import pytest

from gahbench import Citation
from gahbench.contracts.citation import bibliography

MOHAN = Citation("Mohan, Sreyas and Kadkhodaie, Zahra", "Robust & blind", 2020, conference="ICLR", arxiv="1906.05478")


def test_citation_as_text():
    assert str(MOHAN) == "Mohan & Kadkhodaie, Robust & blind, ICLR 2020, arXiv 1906.05478"
    three = Citation("Ahmed, Nasir and T. Natarajan and Rao, K. R.", "Cosines", 1974, journal="Computers", doi="10.1/x")
    assert str(three) == "Ahmed, Natarajan & Rao, Cosines, Computers 1974, doi 10.1/x"
    assert str(Citation("Zhang, Kai and others", "Noise", 2023)) == "Zhang et al., Noise, 2023"
    many = " and ".join(f"{family}, A." for family in "KLMNO")
    assert str(Citation(many, "Noise", 2023)) == "K et al., Noise, 2023"


def test_citation_as_bibtex():
    assert MOHAN.bibtex().splitlines() == [
        "@inproceedings{mohan2020robust,",
        "  author = {Mohan, Sreyas and Kadkhodaie, Zahra},",
        r"  title = {{Robust \& blind}},",
        "  booktitle = {ICLR},",
        "  year = {2020},",
        "  eprint = {1906.05478},",
        "  archiveprefix = {arXiv},",
        "}",
    ]
    assert Citation("A", "B", 1993, publisher="C").bibtex().startswith("@book{a1993b,")
    assert Citation("A", "B", 1993, journal="C").bibtex("key").startswith("@article{key,")
    assert Citation("A", "B", 1993).bibtex().startswith("@misc{")


def test_a_bibliography_lists_each_work_once_under_a_unique_key():
    same_key = [Citation("Mohan, S.", f"Robust {noun}", 2020) for noun in ("nets", "ears")]
    text = bibliography([MOHAN, *same_key, MOHAN])
    assert re.findall(r"^@\w+{([\w-]+),$", text, re.MULTILINE) == [
        "mohan2020robust",
        "mohan2020robust-2",
        "mohan2020robust-3",
    ]
    assert bibliography([*reversed(same_key), MOHAN]) == text
    assert bibliography([]) == ""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"authors": " "}, "needs authors and a title"),
        ({"year": "2020"}, "integer of four digits, not '2020'"),
        ({"journal": "A", "conference": "B"}, "only one of journal, conference and publisher is accepted"),
    ],
)
def test_invalid_citations_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Citation(**{"authors": "A", "title": "B", "year": 2020, **fields})
