"""The HTML report of a results folder, without a browser: its content, and the escaping of texts."""

import re
from pathlib import Path

import pytest
from hostile_pages import HOSTILE, NAME, Read, hostile_failures, hostile_results

from gahbench._util.errors import ParameterError
from gahbench.report.figures import better_directions, metrics_figure
from gahbench.report.page.report import html_report
from gahbench.report.page.svg import DARK, contrast, css_declarations


def test_names_notes_and_tracebacks_are_escaped(hostile):
    read = Read(hostile[1])
    for text in (*HOSTILE, NAME, 'Traceback </pre><script>alert("x")</script>', "RuntimeError: </li>"):
        assert text in read.text
    assert not any(tag == "img" for tag, _ in read.tags)
    # This folder has no units, and its results measure no claim.
    assert "This folder holds no pictures" in read.text
    assert "This folder holds no histories of training" in read.text
    assert 'id="claims"' not in hostile[1]


def test_the_policy_admits_all_content_and_references_resolve(hostile):
    read = Read(hostile[1])
    read.check_policy()
    works = ("https://arxiv.org/abs/", "https://doi.org/")
    assert all(address.startswith(("#", "data:", *works)) for address in read.addresses)
    identifiers = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    referred = {address[1:] for address in read.addresses if address.startswith("#")}
    assert referred | set(re.findall(r"url\(#([^)]+)\)", hostile[1])) <= set(identifiers)


def test_pages_show_names_with_specs_as_tooltips(builtin, charts_not_drawn):
    page = html_report(Path(__file__).parents[2] / "results" / "quick", builtin)
    assert '<bdi title="unet[width=16,levels=2]">U-Net</bdi>' in page
    assert '<bdi title="discs[size=32]">Discs</bdi>' in page
    assert ">unet[width=16,levels=2]</bdi></th>" not in page


def test_series_hold_the_values_of_the_board(hostile):
    results = hostile_results()
    board = results.board.datasets[0]
    values = re.findall(r'data-e="(\d+)" data-v="([^"]*)"', hostile[1][hostile[1].index("data-v=") - 40 :])[:12]
    assert len({index for index, _ in values}) == 12
    for index, texts in values:
        for sigma, text in zip(board.sigmas, texts.split("|"), strict=True):
            known = board.estimate(results.entrants[int(index)], "gain_over_baseline", sigma=sigma)
            numbers = [float(number.replace("−", "-")) for number in text.split()]
            assert numbers == pytest.approx([known.value, known.low, known.high], abs=0.00501)


def test_colours_can_be_seen_on_dark_screens():
    light, dark = css_declarations(["#0173b2", "#000000", "#ffffff", "#440154"])
    assert "--c0173b2:#0173b2" in light
    on_dark = dict(re.findall(r"--c([0-9a-f]{6}):(#[0-9a-f]{6})", dark))
    assert on_dark["ffffff"] == DARK
    assert on_dark["000000"] == "#ffffff"
    assert all(contrast(on_dark[name], DARK) >= 3 for name in ("0173b2", "000000", "440154"))
    # Black on white is the largest contrast (WCAG 2.1).
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_figures_of_metrics_say_which_direction_is_better(builtin):
    made_results = hostile_results(6)
    figure = metrics_figure(made_results, made_results.board.for_dataset(NAME), builtin)
    (ax,) = figure.axes
    assert ax.get_title(loc="left") == "ssim\nhigher is better"
    assert len(ax.lines) == 6
    expected = {"leakage": "lower is better", "gaussian-share": "", "unheard-of": ""}
    assert better_directions(builtin, [*expected]) == expected
    with pytest.raises(ParameterError, match=r"no values of 'sim'; did you mean 'ssim'"):
        metrics_figure(made_results, made_results.board.for_dataset(NAME), builtin, ["sim"])


def test_the_command_writes_the_page_and_equal_folders_give_equal_pages(hostile, command, tmp_path, monkeypatch):
    monkeypatch.setattr("gahbench.report.page.provenance.failures", hostile_failures)
    status, _, errors = command("report")(hostile[0], "--out", tmp_path / "page.html")
    assert status == 0
    assert f"report: {tmp_path / 'page.html'}" in errors
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == hostile[1]
    status, _, errors = command("report")(tmp_path / "nowhere")
    assert status == 2
    assert "expected a results folder" in errors
