"""The HTML report in a browser: opened from a file, under its policy, with and without scripts."""

import re

import pandas as pd
import pytest
from hostile_pages import HOSTILE

from gahbench.report.page.report import html_report

pytestmark = pytest.mark.extras("playwright", "axe_core_python")


@pytest.fixture(scope="module")
def files(hostile, kept_run, builtin, tmp_path_factory):
    """Pages of made-up results with hostile names, and of a run that kept images."""
    home = tmp_path_factory.mktemp("pages")
    for name, page in (("hostile", hostile[1]), ("kept", html_report(kept_run, builtin))):
        (home / f"{name}.html").write_text(page, encoding="utf-8")
    return home


@pytest.fixture
def opened(browse, files):
    """A function that opens a page by its name."""
    return lambda name="kept", fragment="", **options: browse(files / f"{name}.html", fragment, **options)


def board(page):
    return page.locator("table.board").first


def labels(page, table=None):
    return (table or board(page)).locator("tbody tr:visible th bdi").all_inner_texts()


def test_columns_are_sorted(opened):
    page = opened("hostile")
    head = board(page).locator("thead th", has_text=re.compile("^gain$"))
    descending_labels = labels(page)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert labels(page) == descending_labels
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    # Entrants without a value stay last.
    assert labels(page) == [*descending_labels[-2::-1], "gone"]


def test_the_filter_is_kept_in_the_url(opened):
    page = opened("hostile")
    page.get_by_role("searchbox", name="Entrants").fill("plain")
    expected = [f"plain-{index}" for index in range(7)]
    assert sorted(labels(page)) == sorted(expected)
    assert "q=plain" in page.url
    # The series of filtered entrants are hidden too.
    shown = page.locator("#curves .chart").first.locator(".series[data-v]:visible").count()
    assert 0 < shown < 8
    page.get_by_label("Kind").select_option("trained")
    assert labels(page) == []
    page.reload()
    assert page.get_by_role("searchbox", name="Entrants").input_value() == "plain"
    assert labels(page) == []
    page.get_by_role("button", name="clear").click()
    assert len(labels(page)) == 13
    assert "#" not in page.url


def test_one_group_of_columns_is_shown_and_starts_in_view(opened):
    page = opened()
    columns = page.locator(".groups").first
    heads = board(page).locator("thead th:visible")
    assert heads.all_inner_texts() == ["entrant", "rank", "gain", "distance from optimum", "parameters"]
    region = page.locator(".scroll:has(table.board)").first
    region.evaluate("node => { node.style.width = '10rem'; node.scrollLeft = 100; }")
    columns.get_by_role("button", name="PSNR", exact=True).click()
    assert heads.all_inner_texts()[:3] == ["entrant", "PSNR", "PSNR, σ 0.1"]
    assert region.evaluate("node => node.scrollLeft") == 0
    assert columns.locator("[aria-pressed=true]").all_inner_texts() == ["PSNR"]
    columns.get_by_role("button", name="summary").click()
    assert heads.all_inner_texts()[1] == "rank"


def test_heads_show_definitions_that_the_glossary_repeats(opened):
    page = opened("kept")
    definition = board(page).locator("thead th", has_text="gain").first.get_attribute("title")
    assert definition.startswith("The difference in PSNR from")
    assert definition in page.locator("#glossary dd").all_text_contents()


def test_printing_leaves_out_controls(opened):
    page = opened("kept")
    page.emulate_media(media="print")
    assert page.locator("form:visible, .groups:visible, .slider:visible, input:visible").count() == 0
    assert board(page).is_visible()


def test_an_entrant_is_highlighted_everywhere(opened):
    page = opened("kept")
    board(page).get_by_role("button", name="identity").click()
    index = board(page).locator("tr.on").get_attribute("data-e")
    assert page.locator(".on").evaluate_all("nodes => [...new Set(nodes.map(node => node.dataset.e))]") == [index]
    # Rows, legend entries, curves with their bands, and images are highlighted.
    assert page.locator("li.on, tr.on, .series.on, .pictures li.on").count() > 6
    assert page.locator("#curves .series.dim").count() > 0
    page.reload()
    assert board(page).locator("tr.on").get_attribute("data-e") == index
    board(page).get_by_role("button", name="identity").click()
    assert page.locator(".on, .dim").count() == 0


def test_tooltips_show_the_values_of_the_table(opened, kept_run):
    page = opened("kept")
    table = pd.read_csv(kept_run / "leaderboard.csv").set_index("entrant")
    chart = page.locator("#curves .chart").first
    point = chart.locator(".series[data-v]:visible use").last
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    match = re.fullmatch(r"(.+): (\S+) dB(?: \((\S+) to (\S+)\))?, σ = (\S+)", page.locator("#tip").inner_text())
    name, *values, sigma = match.groups()
    # The tooltip of a display name is the label of its entrant.
    entrant = board(page).locator("tbody th bdi").get_by_text(name, exact=True).get_attribute("title") or name
    quantity = (
        "gain_over_baseline" if page.locator("#curves figcaption").first.inner_text().startswith("gain") else "psnr"
    )
    for value, end in zip(values, ("", "_low", "_high"), strict=True):
        expected = table.loc[entrant, f"{quantity}@{sigma}{end}"]
        assert float(value.replace("−", "-")) == pytest.approx(expected, abs=0.00501)
    page.mouse.move(0, 0)
    assert page.locator("#tip").is_hidden()


def test_all_entrants_are_shown_initially_and_can_be_hidden(opened):
    page = opened("hostile")
    chart = page.locator("#curves .chart").first
    series = chart.locator(".series[data-v]:visible")
    boxes = page.locator(".legend input")
    assert (boxes.count(), series.count()) == (12, 12)
    shown_labels = chart.locator("text.series:visible, g.series:not([data-v]):visible").count()
    boxes.first.uncheck()
    assert series.count() == 11
    # The label at the end of a curve, and its band, are hidden with the curve.
    assert chart.locator("text.series:visible, g.series:not([data-v]):visible").count() < shown_labels
    page.get_by_role("button", name="all 12").click()
    assert series.count() == 12
    page.get_by_role("button", name="all 12").click()
    assert series.count() == 0


def test_two_entrants_are_compared_by_a_slider(opened):
    page = opened("kept")
    slider = page.locator(".slider:visible").first
    over = slider.locator(".stack .over")
    assert over.evaluate("node => node.style.clipPath") == "inset(0px 0px 0px 50%)"
    slider.get_by_label("share of A").fill("20")
    assert over.evaluate("node => node.style.clipPath") == "inset(0px 0px 0px 20%)"
    slider.get_by_label("picture B").select_option(label="Optimal denoiser")
    shown = page.locator(".pictures:visible").first.locator("li", has_text="Optimal denoiser").locator("figure")
    assert over.get_attribute("src") == shown.first.locator("img").get_attribute("src")
    assert slider.locator(".badge.B").inner_text() == f"B {shown.first.inner_text()}"
    assert min(over.bounding_box()[side] for side in ("width", "height")) >= 256
    slider.get_by_label("test image").select_option("2")
    assert over.get_attribute("src") == shown.nth(2).locator("img").get_attribute("src")
    assert over.evaluate("node => node.complete && node.naturalWidth > 0")


def test_the_keyboard_reaches_all_controls(opened):
    page = opened("kept")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    reached = set()
    for _ in range(400):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
        if page.evaluate("document.activeElement.matches('#cost .chart')"):
            # The arrow keys move between the points of all entrants.
            page.keyboard.press("ArrowRight")
            names = [page.locator("#tip").inner_text().partition(":")[0]]
            page.keyboard.press("ArrowRight")
            assert page.locator("#tip").inner_text().partition(":")[0] not in ("", *names)
            page.keyboard.press("Escape")
        if page.evaluate("document.activeElement.matches('#curves .chart')"):
            break
    assert {"A", "INPUT", "SELECT", "pick", "scroll", "chart"} <= reached
    page.keyboard.press("ArrowRight")
    first = page.locator("#tip").inner_text()
    page.keyboard.press("ArrowRight")
    second = page.locator("#tip").inner_text()
    page.keyboard.press("ArrowDown")
    names = [text.partition(":")[0] for text in (first, second, page.locator("#tip").inner_text())]
    assert first != second
    assert names[0] == names[1] != names[2]
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


@pytest.mark.parametrize("name", ["hostile", "kept"])
def test_a_phone_does_not_scroll_sideways(opened, name):
    page = opened(name, viewport={"width": 390, "height": 844})
    page.locator("details").evaluate_all("nodes => nodes.forEach(node => node.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_all_content_is_shown_without_scripts(opened):
    page = opened("hostile", java_script_enabled=False)
    assert labels(page)[-1] == "gone"
    assert set(HOSTILE) < set(labels(page))
    assert page.locator("#curves .chart").first.locator(".series[data-v]").count() == 12
    assert not page.locator("#filter").is_visible()


def test_the_page_can_be_printed(opened):
    pdf = opened("kept").pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 1


@pytest.mark.parametrize("name", ["hostile", "kept"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(opened, violations, name, scheme):
    page = opened(name, color_scheme=scheme, bypass_csp=True)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert violations(page) == []
