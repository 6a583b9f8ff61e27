"""Files of claims: parsing, and errors that name the file, line, field and accepted values."""

import re
from pathlib import Path

import pytest

import gahbench
from gahbench._util.errors import SuiteError
from gahbench.contracts.claims import Compared, Condition, Levels, Measure, Region, accepted_fields
from gahbench.testing import check_file

ROOT = Path(__file__).parents[2]

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
      - {measure: {metric: psnr, slope: input-psnr}, region: {from: 0.9}}
    suite: own
    full_scale: quick
"""


@pytest.fixture
def write(tmp_path):
    def write_file(text=FILE, old="", new=""):
        assert old in text
        file = tmp_path / "author_2026.yaml"
        file.write_text(text.replace(old, new, 1), encoding="utf-8")
        return file

    return write_file


def test_a_file_is_parsed(write):
    (claim,) = gahbench.read_claims(str(write()))
    assert (claim.id, claim.paper.arxiv, claim.location) == ("better", "2600.00000", "figure 1")
    assert claim.statement == "Networks are better than shrinkage."
    assert claim.measure == Measure(
        "psnr",
        ("unet", "bf-cnn"),
        ("discs",),
        sigma=Levels("mean", start=25 / 255),
        number=Levels(at=(1.0, 10.0)),
        minus=Compared(entrant="bayes-shrink"),
    )
    assert claim.region == Region(above=0, end=3)
    assert claim.requires[0] == Condition(Region(start=24), "images")
    assert claim.requires[1].measure == Measure("psnr", slope="input-psnr")
    assert claim.suite["name"] == "own"
    assert claim.full_scale == "quick"
    assert claim.checked == "abstract"


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        (" metric: psnr\n", " metrik: psnr\n", 13, r"unknown field 'claims.better.measure.metrik'; did you mean"),
        ("location: fig", "where: fig", 7, r"unknown field 'claims.better.where'.*accepted: location, checked, state"),
        ("{above: 0, to: 3}", "{over: 0}", 19, r"unknown field 'claims.better.region.over'.*accepted: from, to, above"),
        ("{above: 0, to: 3}", "{above: 0, from: 1}", 19, r"claims.better.region: a region has one end on each side"),
        ("{above: 0, to: 3}", "{above: high}", 19, r"region.above: .*a valid number \(got 'high'\)"),
        ("    suite: own\n", "", 6, r"claims.better.suite: field required"),
        ("from: 25/255,", "from: 25/255, to: 0.01,", 16, r"claims.better.measure.sigma: 'from' is at most 'to'"),
        ("{entrant: bayes-shrink}", "{}", 18, r"a comparison needs at least one of metric, entrant, dataset"),
        (" metric: psnr\n", " metric: distance[pspc\n", 12, r"the brackets of 'distance\[pspc' are not closed"),
        ("datasets: discs", "datasets: []", 15, r"claims.better.measure.datasets: .*at least 1 item"),
        ("take: mean", "take: some", 16, r"claims.better.measure.sigma.take: input should be 'each', 'mean', 'lowest'"),
        ("N: [1, 10]", "N: [0, 10]", 17, r"claims.better.measure.N: input should be greater than 0"),
        ("fact: images", "measure: {metric: psnr}, fact: images", 21, r"a condition needs either a fact or a measure"),
        ("year: 2026", "yaer: 2026", 2, r"unknown field 'paper.yaer'; did you mean 'year'\? accepted: authors, title"),
        ("  better:\n", "  better one:\n", 6, r"better one: string should match pattern"),
        ("claims:\n", "claims: [\n", 7, r"not valid YAML"),
    ],
)
def test_errors_name_the_file_line_field_and_accepted_values(write, old, new, line, message):
    file = write(old=old, new=new)
    with pytest.raises(SuiteError) as error:
        gahbench.read_claims(str(file))
    match = re.fullmatch(rf"{re.escape(str(file))}:(\d+): (.*)", str(error.value))
    assert match is not None, str(error.value)
    assert re.search(message, match[2]), match[2]
    assert int(match[1]) == line, str(error.value)


def test_a_file_that_is_not_a_mapping_raises(write):
    with pytest.raises(SuiteError, match="the file: expected the fields paper, claims, suites"):
        gahbench.read_claims(str(write("- a list\n")))


def test_a_file_is_a_plugin_with_the_name_of_the_file(write):
    file = write()
    registry = gahbench.Registry((file,))
    assert registry.problems == []
    plugin = registry.get("claim", "author-2026")
    assert plugin.summary == "Author 2026: a paper on denoisers."
    assert registry.create("claim", "author-2026")[0].id == "better"
    (report,) = check_file(file)
    assert report.passed, str(report)


def test_the_checks_report_invalid_claims(write):
    for old, new in (("datasets: [discs]", "datasets: [disks]"), ("metric: psnr", "metric: ssim")):
        (report,) = check_file(write(old=old, new=new))
        assert report.failed == ["the suite of better loads and has the metric"]
    assert "it does not measure ssim; it measures psnr" in str(report)


def test_the_example_in_the_guide_passes_the_checks(tmp_path):
    guide = (ROOT / "plugins" / "claims" / "README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", guide, flags=re.DOTALL)
    file = tmp_path / "author-2026.yaml"
    file.write_text(text, encoding="utf-8")
    (report,) = check_file(file)
    assert report.passed, str(report)


def test_every_file_of_claims_and_every_field_is_in_the_guide():
    guide = (ROOT / "plugins" / "claims" / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[`([^`]+)`\].* \| (.*) \|$", guide, flags=re.MULTILINE))
    files = sorted((ROOT / "plugins" / "claims").glob("*.yaml"))
    assert rows == {file.stem: file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for file in files}
    for location in (("claims",), ("measure",)):
        assert [name for name in accepted_fields(location) if f"`{name}`" not in guide] == []
