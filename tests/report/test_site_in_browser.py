"""The site of the published results in a browser, opened from files."""

from pathlib import Path

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
