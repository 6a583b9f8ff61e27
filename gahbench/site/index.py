"""The index of a site: the board that it opens with, and a card with a finding and a picture for each run."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from gahbench._util.files import names_in
from gahbench._util.readable import pluralize
from gahbench.planning.suite_files import suite_files, suite_summary
from gahbench.report.finding import finding
from gahbench.report.page.first_screen import FirstScreen, first_screen
from gahbench.report.page.readme import read_readme
from gahbench.report.pictures import FOLDER as PICTURES

if TYPE_CHECKING:
    from gahbench.site.catalogue import Run
    from gahbench.site.markdown import Links, RenderedMarkdown

#: The question that boards answer, the heading of an index.
QUESTION = "How far are image denoisers from the best possible, and which basis do they use?"
_IMAGE = re.compile(r'<img src="(?:\.\./)*(files/[^"]+)" alt="([^"]*)"')


@dataclass(frozen=True)
class Card:
    """A run on the index: its question or title, its finding, and a picture with its text, if there is one."""

    name: str
    title: str
    finding: str
    picture: str = ""
    text: str = ""


@dataclass(frozen=True)
class MainBoard:
    """The run whose gains and distances an index shows, and the links of its columns."""

    run: Run
    title: str
    screen: FirstScreen
    addresses: dict[str, str]


def editorial_order(runs: Sequence[Run], text: str) -> list[Run]:
    """Return runs in the order in which the README.md of their folder links to them; other runs come last."""

    def position(run: Run) -> int:
        match = re.search(rf"\]\((?:\./)?{re.escape(run.path)}[/)#]", text)
        return match.start() if match else len(text)

    return sorted(runs, key=position)


def main_board(runs: Sequence[Run], titles: dict[str, str], pages: dict[str, str]) -> MainBoard | None:
    """Return the first run whose entrants can be compared; ``None`` without such a run."""
    for run in runs:
        screen = first_screen(run.results)
        if screen.map.rows:
            boards = enumerate(run.results.board.datasets)
            addresses = {board.dataset: f"{pages[run.name]}#d{index}-board" for index, board in boards}
            return MainBoard(run, titles[run.name], screen, addresses)
    return None


def run_title(run: Run, readme: RenderedMarkdown | None) -> str:
    """Return the title of a run: of its README.md, or of its suite, or else its name."""
    shipped = suite_files().get(run.results.suite)
    # The first part of a long summary tells what is run.
    summary = suite_summary(shipped).partition(",")[0].rstrip(".") if shipped else ""
    return (readme.title if readme else "") or summary or run.name


def make_card(run: Run, readme: RenderedMarkdown | None, links: Links) -> Card:
    """Return the card of a run; its picture is the first of its README.md, or else one of its board."""
    title = run_title(run, readme)
    match = _IMAGE.search(readme.markup) if readme else None
    if match:
        picture, text = match[1], html.unescape(match[2])
    else:
        picture, text = _picture_of_board(run, links)
    return Card(run.name, title, _finding(run, title), picture, text)


def _finding(run: Run, title: str) -> str | Markup:
    """Return the first finding of the run's README.md, or else what the intervals of the board decide."""
    if findings := read_readme(run.source.folder).findings:
        return findings[0]
    text = finding(run.results).title
    entrants, datasets = len(run.entrants), len(run.results.board.datasets)
    size = f"{pluralize(entrants, 'entrant')} on {pluralize(datasets, 'dataset')}"
    return size if text == title or text.startswith(size.split(" on ")[0]) else text


def _picture_of_board(run: Run, links: Links) -> tuple[str, str]:
    """Return the URL of a figure of a board, and its text; empty if the folder has none."""
    for folder in ("figures", PICTURES):
        _, image = links.resolvers(run.readme, "")
        for name in sorted(name for name in names_in(run.source.folder / folder) if name.endswith(".png")):
            if url := image(f"{folder}/{name}"):
                return url, f"{folder} of {run.name}"
    return "", ""
