"""The report of a results folder as a page, without a browser: what it holds, and that texts stay texts."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_results import failure, fit, realistic, results

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.contracts.claims import CHECKED
from gahbench.report.figures import directions, metrics_figure
from gahbench.report.page.provenance import Failure
from gahbench.report.page.report import html_report
from gahbench.report.page.svg import DARK, contrast, declarations
from gahbench.report.publish import publish

HOSTILE = (
    "<script>alert(1)</script>",
    "\"quotes' & </style>[a=1]",
    "emoji 🌲",
    "long " + 295 * "x",
    "עברית [x=1]",
)
NAME = 'c-alpha[alpha=2]"><img src=x>'


def hostile_results(entrants=12):
    """Results with names, notes and errors that would be markup, were they not escaped."""
    made = [(name, "trained" if place < 2 else "classical", 0.3 * place, 0.6, 1) for place, name in enumerate(HOSTILE)]
    made += [(f"plain-{place}", "classical", 2 + 0.2 * place, 0.6, 1) for place in range(entrants - len(made))]
    scores, fits, datasets = realistic(made, NAME, images=6)
    failures = [failure(NAME, "gone", 0, "Error: <b>bold</b>"), failure(NAME, HOSTILE[0], 0, "</pre><script>", "score")]
    fits.append(fit(NAME, "gone", 1))
    labels = [name for name, *_ in made]
    return results(scores, fits, failures, datasets, [*labels, "gone"], labels[-1])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, builtin):
    """A folder of such results, and its page."""
    folder = tmp_path_factory.mktemp("hostile")
    found = hostile_results()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gahbench.report.figures.encode", lambda figure, suffix, **options: suffix.encode())
        publish(found, folder, "0" * 64)
    with pytest.MonkeyPatch.context() as patch:
        traced = [Failure("fit of <i>", "RuntimeError: </li>", 'Traceback </pre><script>alert("x")</script>')]
        patch.setattr("gahbench.report.page.provenance.failures", lambda source: traced)
        return folder, html_report(folder, builtin)


class Read(HTMLParser):
    """Tags, with their attributes, and text outside scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.within = [], "", ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.within = tag

    def handle_endtag(self, tag):
        self.within = ""

    def handle_data(self, data):
        if self.within not in ("script", "style"):
            self.text += data


def test_names_notes_and_tracebacks_are_texts(hostile):
    read = Read(hostile[1])
    for text in (*HOSTILE, NAME, 'Traceback </pre><script>alert("x")</script>', "RuntimeError: </li>"):
        assert text in read.text
    assert sum(tag == "script" for tag, _ in read.tags) == 1
    assert sum(tag == "style" for tag, _ in read.tags) == 1
    assert not any(tag in ("img", "b", "i") for tag, _ in read.tags)
    # This folder has no units, and its results bear on no claim.
    assert "This folder holds no images" in read.text
    assert "This folder holds no histories of training" in read.text
    assert 'id="claims"' not in hostile[1]


def test_the_policy_admits_what_the_page_has_and_identifiers_are_found(hostile):
    read = Read(hostile[1])
    (policy,) = [of["content"] for tag, of in read.tags if of.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    # No style or handler in an attribute, which it refuses, and no address but data and places of the page.
    for tag, attributes in read.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
        addresses = [attributes[name] for name in ("href", "src") if attributes.get(name)]
        assert all(address.startswith(("#", "data:")) for address in addresses)
    identifiers = [of["id"] for _, of in read.tags if "id" in of]
    assert len(identifiers) == len(set(identifiers))
    referred = {of["href"][1:] for _, of in read.tags if of.get("href", "").startswith("#")}
    referred |= set(re.findall(r"url\(#([^)]+)\)", hostile[1]))
    assert referred <= set(identifiers)


def test_series_hold_the_values_of_the_board(hostile):
    page = hostile[1]
    board = hostile_results().board.datasets[0]
    first = page.index("data-v=")
    values = re.findall(r'data-e="(\d+)" data-v="([^"]*)"', page[first - 40 :])
    labels = [*(entry for entry in hostile_results().entrants)]
    found = {labels[int(place)]: text.split("|") for place, text in values[:12]}
    for label, texts in found.items():
        for sigma, text in zip(board.sigmas, texts, strict=True):
            known = board.estimate(label, "psnr", sigma=sigma)
            assert text == f"{known.value:.2f} {known.low:.2f} {known.high:.2f}"


def test_colours_can_be_seen_on_dark_screens():
    light, dark = declarations(["#0173b2", "#000000", "#ffffff", "#440154"])
    assert "--c0173b2:#0173b2" in light
    on_dark = dict(re.findall(r"--c([0-9a-f]{6}):(#[0-9a-f]{6})", dark))
    assert on_dark["ffffff"] == DARK
    assert on_dark["000000"] == "#ffffff"
    assert all(contrast(on_dark[name], DARK) >= 3 for name in ("0173b2", "000000", "440154"))
    # Black on white is the largest contrast (WCAG 2.1).
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_figures_of_metrics_say_which_direction_is_better(builtin):
    found = hostile_results(6)
    figure = metrics_figure(found, found.board.of(NAME), builtin)
    (ax,) = figure.axes
    assert ax.get_title(loc="left") == "ssim\nhigher is better"
    assert len(ax.lines) == 6
    expected = {"leakage": "lower is better", "gaussian-share": "", "unheard-of": ""}
    assert directions(builtin, [*expected]) == expected
    with pytest.raises(ParameterError, match=r"no values of 'sim'; did you mean 'ssim'"):
        metrics_figure(found, found.board.of(NAME), builtin, ["sim"])


def test_the_command_writes_the_page_and_equal_folders_give_equal_pages(hostile, command, builtin, tmp_path):
    status, _, errors = command("report")(str(hostile[0]), "--out", str(tmp_path / "page.html"))
    assert status == 0
    assert f"report: {tmp_path / 'page.html'}" in errors
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == html_report(hostile[0], builtin)
    status, _, errors = command("report")(str(tmp_path / "nowhere"))
    assert status == 2
    assert "expected a folder of results" in errors


def test_claims_that_are_measured_are_on_the_page_with_their_verdicts(builtin):
    folder = Path(__file__).parents[2] / "results" / "quick"
    verdicts = [one for one in gahbench.claims(folder) if one.outcome != "not measured"]
    text = " ".join(Read(html_report(folder, builtin)).text.split())
    section = text[text.rindex("Claims What publications say") : text.rindex("Provenance")]
    assert verdicts
    for one in verdicts:
        assert f"{one.claim.statement}{one.name}, {one.claim.place}; " in section
        after = section.partition(f"{one.name}, {one.claim.place}; ")[2]
        assert after.startswith(f"{CHECKED[one.claim.checked]}{one.outcome}")
    assert len(re.findall(r"[a-z]+-\d{4}/[\w-]+", section)) == len(verdicts)
