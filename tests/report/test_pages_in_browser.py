"""Reports and sites in a browser: opened from files, under their policy, with and without scripts."""

import re
from pathlib import Path

import pytest
from hostile_pages import HOSTILE

from gahbench.report.page.report import html_report
from gahbench.site.pages import write_site

pytestmark = pytest.mark.extras("playwright", "axe_core_python")
RESULTS = Path(__file__).parents[2] / "results"
#: Pages of made-up results, of a run that kept images, and of every kind of the site of the published results.
PAGES = ("hostile", "kept", "site/index", "site/claims", "site/runs/quick")


@pytest.fixture(scope="module")
def files(hostile, kept_run, builtin, build_once):
    """Pages of made-up results with hostile names, and of a run that kept images, and a site of published results."""

    def fill(home):
        for name, page in (("hostile", hostile[1]), ("kept", html_report(kept_run, builtin))):
            (home / f"{name}.html").write_text(page, encoding="utf-8")
        write_site(RESULTS, home / "site", builtin)

    return build_once("browsed", fill)


@pytest.fixture
def opened(browse, files):
    """A function that opens a page by its name."""
    return lambda name="kept", fragment="", **options: browse(files / f"{name}.html", fragment, **options)


def board(page):
    """Return the table of the first dataset, which is shown."""
    page.locator("details.dataset").first.evaluate("node => node.open = true")
    return page.locator("details.dataset table.board").first


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
    page.reload()
    assert page.get_by_role("searchbox", name="Entrants").input_value() == "plain"
    assert sorted(labels(page)) == sorted(expected)
    page.get_by_role("button", name="clear").click()
    assert len(labels(page)) == 13
    assert "#" not in page.url


def test_one_view_of_the_columns_is_shown_and_starts_in_view(opened):
    page = opened()
    heads = board(page).locator("thead th:visible")
    assert {"rank", "entrant", "PSNR", "gain", "deficit"} <= set(heads.all_inner_texts())
    views = page.locator("details.dataset .views").first
    region = page.locator("details.dataset .scroll").first
    region.evaluate("node => { node.style.width = '10rem'; node.scrollLeft = 100; }")
    views.get_by_role("button", name="cost", exact=True).click()
    assert heads.all_inner_texts()[:2] == ["entrant", "params"]
    assert region.evaluate("node => node.scrollLeft") == 0
    assert views.locator("[aria-pressed=true]").all_inner_texts() == ["cost"]
    views.get_by_role("button", name="summary").click()
    assert heads.all_inner_texts()[0] == "rank"


def test_the_keyboard_reaches_all_controls(opened):
    page = opened("kept")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
    assert {"A", "INPUT", "SELECT", "SUMMARY", "BUTTON", "scroll"} <= reached


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


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_does_not_scroll_sideways(opened, name):
    page = opened(name, viewport={"width": 390, "height": 844})
    page.locator("details").evaluate_all("nodes => nodes.forEach(node => node.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_all_content_is_shown_without_scripts(opened):
    page = opened("hostile", java_script_enabled=False)
    assert labels(page)[-1] == "gone"
    assert set(HOSTILE) < set(labels(page))
    assert page.locator("#curves img").first.evaluate("node => node.complete && node.naturalWidth > 0")
    assert not page.locator("#filter").is_visible()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(opened, violations, name, scheme):
    page = opened(name, color_scheme=scheme, bypass_csp=True)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert violations(page) == []


def test_hostile_names_run_no_script(browse, violations, site):
    page = browse(site[1] / "index.html", viewport={"width": 390, "height": 844}, bypass_csp=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert violations(page) == []
    for name in sorted(file.relative_to(site[1]).as_posix() for file in site[1].rglob("*.html")):
        page.goto((site[1] / name).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 390, name
