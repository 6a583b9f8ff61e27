"""The site of the published results in a browser, opened from files."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from gahbench.site.pages import write_site

pytestmark = pytest.mark.extras("playwright", "axe_core_python")
RESULTS = Path(__file__).parents[2] / "results"
#: Pages of every kind.
KINDS = ("index", "claims", "runs/quick")


@pytest.fixture(scope="module")
def published(build_once, builtin):
    """The site of the published results."""
    return build_once("published-site", lambda home: write_site(RESULTS, home / "out", builtin)) / "out"


def test_all_links_lead_to_pages_without_errors(browse, published):
    page = browse(published / "index.html")
    links = "[...document.querySelectorAll('a[href]')].map(link => link.getAttribute('href'))"
    identifiers = "[...document.querySelectorAll('[id]')].map(node => node.id)"
    to_visit, ids_by_page, links_found = ["index.html"], {}, []
    while to_visit:
        name = to_visit.pop()
        page.goto((published / name).as_uri())
        ids_by_page[name] = set(page.evaluate(identifiers))
        for link in page.evaluate(links):
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme in ("http", "https", "data")
                continue
            target = os.path.relpath((published / name).parent / unquote(parts.path), published) if parts.path else name
            assert (published / target).is_file(), (name, link)
            links_found.append((name, target, unquote(parts.fragment)))
            if target.endswith(".html") and target not in ids_by_page and target not in to_visit:
                to_visit.append(target)
    assert set(ids_by_page) == {file.relative_to(published).as_posix() for file in published.rglob("*.html")}
    broken = [
        (name, target, anchor) for name, target, anchor in links_found if anchor and anchor not in ids_by_page[target]
    ]
    assert broken == []


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(browse, violations, published, name, scheme):
    page = browse(published / f"{name}.html", color_scheme=scheme, bypass_csp=True)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert violations(page) == []


@pytest.mark.parametrize("name", KINDS)
def test_a_phone_does_not_scroll_sideways(browse, published, name):
    page = browse(published / f"{name}.html", viewport={"width": 390, "height": 844})
    page.locator("details").evaluate_all("nodes => nodes.forEach(node => node.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_hostile_names_run_no_script(browse, violations, site):
    page = browse(site[1] / "index.html", viewport={"width": 390, "height": 844}, bypass_csp=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert violations(page) == []
    for name in sorted(file.relative_to(site[1]).as_posix() for file in site[1].rglob("*.html")):
        page.goto((site[1] / name).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 390, name


def test_entrants_are_filtered_and_sorted(browse, published):
    page = browse(published / "index.html")
    rows = page.locator("#entrants tbody tr:visible")
    assert rows.count() == 0
    page.locator("#entrants summary").click()
    total = rows.count()
    page.get_by_role("searchbox", name="Entrants").fill("oracle-threshold")
    assert 0 < rows.count() < total
    assert "q=oracle-threshold" in page.url
    page.get_by_role("button", name="clear").click()
    head = page.locator("#entrants thead th", has_text="first on")
    head.locator("button").click()
    firsts = page.locator("#entrants tbody tr td:last-child").all_inner_texts()
    numbers = [int(text) for text in firsts if text != "–"]
    assert numbers == sorted(numbers, reverse=True)
    assert firsts[: len(numbers)] == list(map(str, numbers))
