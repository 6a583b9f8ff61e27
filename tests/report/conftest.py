"""A browser for the tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A Chromium, run by Playwright; tests skip where there is none."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium: Any) -> Iterator[Callable[..., Any]]:
    """A function that opens a file, and fails the test if its page asks for anything elsewhere or has errors."""
    problems: list[str] = []
    contexts = []

    def note(address: str) -> None:
        if not address.startswith(("file:", "data:")):
            problems.append(address)

    def open_(file: Path, fragment: str = "", **options: Any) -> Any:
        contexts.append(chromium.new_context(**{"viewport": {"width": 1200, "height": 900}, **options}))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: note(request.url))
        page.goto(file.as_uri() + fragment)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def violations() -> Callable[[Any], list[Any]]:
    """A function that returns what axe finds wrong with a page, with all that is folded opened."""

    def found(page: Any) -> list[Any]:
        import axe_core_python

        page.locator("details").evaluate_all("nodes => nodes.forEach(node => node.open = true)")
        page.evaluate((Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
        report = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'best-practice']})")
        assert len(report["passes"]) > 20
        return [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in report["violations"]]

    return found
