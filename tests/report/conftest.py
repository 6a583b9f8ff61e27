"""Fixtures: hostile results, their pages and site, and a browser."""

import shutil
from pathlib import Path

import pytest
from hostile_pages import CLAIM, RUN, TEXTS, hostile_results
from PIL import Image

from gahbench.registry.registry import Registry, open_registry
from gahbench.report.page.report import html_report
from gahbench.report.publish import publish
from gahbench.site.pages import write_site

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def charts_not_drawn(monkeypatch):
    """Pages are rendered without figures, which take most of the time."""
    monkeypatch.setattr("gahbench.report.page.report.published", lambda *arguments: [])


@pytest.fixture(scope="session")
def hostile(build_once):
    """A folder of hostile results, and its page."""

    def fill(home):
        publish(hostile_results(), home / "results", "0" * 64)
        (home / "page.html").write_text(html_report(home / "results", Registry()), encoding="utf-8")

    home = build_once("hostile", fill)
    return home / "results", (home / "page.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    file = tmp_path_factory.mktemp("claims") / "author-2020.yaml"
    file.write_text(CLAIM, encoding="utf-8")
    return open_registry([file])


@pytest.fixture(scope="session")
def site(hostile, kept_run, registry, build_once):
    """A folder of results with hostile names and texts, and its site."""

    def fill(home):
        folder = home / "results"
        shutil.copytree(hostile[0], folder / RUN)
        shutil.copytree(kept_run, folder / "kept")
        for name, text in TEXTS.items():
            (folder / name).write_text(text, encoding="utf-8")
        Image.new("L", (40, 20)).save(folder / "kept" / "figures" / "x.png")
        write_site(folder, home / "out", registry)

    home = build_once("hostile-site", fill)
    return home / "results", home / "out"


@pytest.fixture(scope="module")
def chromium():
    """A Chromium browser, run by Playwright; without Chromium the tests are skipped."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium):
    """A function that opens a file; the test fails if the page requests other URLs or reports errors."""
    problems = []
    contexts = []

    def record_request(address):
        if not address.startswith(("file:", "data:")):
            problems.append(address)

    def open_(file, fragment="", **options):
        contexts.append(chromium.new_context(**{"viewport": {"width": 1200, "height": 900}, **options}))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: record_request(request.url))
        page.goto(file.as_uri() + fragment)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def violations():
    """A function that opens all details of a page, and returns the violations that axe finds."""

    def run_axe(page):
        import axe_core_python

        page.locator("details").evaluate_all("nodes => nodes.forEach(node => node.open = true)")
        page.evaluate((Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
        report = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'best-practice']})")
        assert len(report["passes"]) > 20
        return [
            (violation["id"], [node["html"][:120] for node in violation["nodes"]]) for violation in report["violations"]
        ]

    return run_axe
