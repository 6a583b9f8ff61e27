"""Files of claims, whose errors name the file, line, field and accepted values, and citations."""

import re
from pathlib import Path

import pytest

import gahbench
from gahbench import Citation
from gahbench._util.errors import SuiteError
from gahbench.contracts.citation import bibliography
from gahbench.testing import check_file

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "plugins" / "claims" / "README.md").read_text(encoding="utf-8")

FILE = """\
# Author 2026: a paper on denoisers.
paper: {authors: "Author, First", title: A paper, year: 2026, arxiv: "2600.00000"}
suites:
  own: {name: own, datasets: [discs], entrants: [unet], scoring: {sigmas: [0.1]}}
claims:
  better:
    location: figure 1
    checked: abstract
    statement: >
      Networks are better
      than shrinkage.
    measure:
      metric: psnr
      entrants: [unet, bf-cnn]
      datasets: discs
      sigma: {from: 25/255, take: mean}
      N: [1, 10]
      minus: {entrant: bayes-shrink}
    region: {above: 0, to: 3}
    requires:
      - {fact: images, region: {from: 24}}
      - {measure: {metric: psnr, sigma: slope}, region: {from: 0.9}}
    suite: own
"""


@pytest.fixture
def write(tmp_path):
    def write_file(text=FILE, old="", new=""):
        assert old in text
        file = tmp_path / "author_2026.yaml"
        file.write_text(text.replace(old, new, 1), encoding="utf-8")
        return file

    return write_file


def test_a_file_is_a_plugin_with_the_name_of_the_file_whose_fields_are_parsed(write):
    registry = gahbench.Registry((write(),))
    assert registry.get("claim", "author-2026").summary == "Author 2026: a paper on denoisers."
    (claim,) = registry.create("claim", "author-2026")
    assert (claim.id, claim.statement) == ("better", "Networks are better than shrinkage.")
    measure = claim.measure
    assert (measure.entrants, measure.datasets) == (("unet", "bf-cnn"), ("discs",))
    assert (measure.sigma.take, measure.sigma.start, measure.number.at) == ("mean", 25 / 255, (1.0, 10.0))
    assert claim.requires[1].measure.sigma.take == "slope"
    assert claim.suite["name"] == "own"
    (report,) = check_file(write())
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("old", "new", "line", "name"),
    [
        (" metric: psnr\n", " metrik: psnr\n", 13, "claims.better.measure.metrik"),
        ("location: fig", "where: fig", 7, "claims.better.where"),
        ("{above: 0, to: 3}", "{above: 0, from: 1}", 19, "claims.better.region"),
        ("{above: 0, to: 3}", "{above: 1, to: 1}", 19, "claims.better.region"),
        ("{above: 0, to: 3}", "{}", 19, "claims.better.region"),
        ("{above: 0, to: 3}", "{above: high}", 19, "claims.better.region.above"),
        ("    suite: own\n", "", 6, "claims.better.suite"),
        ("from: 25/255,", "from: 25/255, to: 0.01,", 16, "claims.better.measure.sigma"),
        ("{entrant: bayes-shrink}", "{}", 18, "claims.better.measure.minus"),
        ("{entrant: bayes-shrink}", "{entrant: a}\n      over: {entrant: b}", 12, "claims.better.measure"),
        ("datasets: discs", "datasets: []", 15, "claims.better.measure.datasets"),
        ("take: mean", "take: some", 16, "claims.better.measure.sigma.take"),
        ("N: [1, 10]", "N: [0, 10]", 17, "claims.better.measure.N"),
        ("fact: images", "measure: {metric: psnr}, fact: images", 21, "claims.better.requires.0"),
        ("  better:\n", "  better one:\n", 6, "better one"),
        (FILE.splitlines()[1], "paper: chang-2001", 2, "did you mean 'chang-2000'?"),
        ("claims:\n", "claims: [\n", 7, "not valid YAML"),
        (FILE, "- a list\n", 1, "the fields paper, claims, suites"),
    ],
)
def test_errors_name_the_file_line_and_field(write, old, new, line, name):
    file = write(old=old, new=new)
    with pytest.raises(SuiteError) as error:
        gahbench.read_claims(str(file))
    assert str(error.value).startswith(f"{file}:{line}: ")
    assert name in str(error.value)


def test_the_example_of_the_guide_passes_the_checks(tmp_path):
    file = tmp_path / "author-2026.yaml"
    file.write_text(*re.findall(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL), encoding="utf-8")
    (report,) = check_file(file)
    assert report.passed, str(report)


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
