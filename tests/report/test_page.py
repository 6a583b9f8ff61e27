"""The HTML report of a results folder, without a browser: its content, and the escaping of texts."""

import hashlib
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

from hostile_pages import HOSTILE, NAME, Read

from gahbench.report.page.readme import Readme, read_readme
from gahbench.report.page.report import html_report, write_report


def test_names_notes_and_errors_are_escaped(hostile):
    read = Read(hostile[1])
    for text in (*HOSTILE, NAME, "</pre><script>", "Error: <b>bold</b>"):
        assert text in read.text
    assert all(of["src"].startswith("data:image/svg+xml;base64,") for tag, of in read.tags if tag == "img")


def test_the_policy_admits_all_content_and_references_resolve(hostile):
    read = Read(hostile[1])
    read.check_policy()
    works = ("https://arxiv.org/abs/", "https://doi.org/")
    assert all(address.startswith(("#", "data:", *works)) for address in read.addresses)
    identifiers = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    referred = {address[1:] for address in read.addresses if address.startswith("#")}
    assert referred | set(re.findall(r"url\(#([^)]+)\)", hostile[1])) <= set(identifiers)


def test_pages_show_names_and_list_their_specs_once(builtin, charts_not_drawn):
    page = html_report(Path(__file__).parents[2] / "results" / "quick", builtin)
    board = page.partition('<section id="board"')[2].partition("</section>")[0]
    for name, spec in (("U-Net", "unet[width=16,levels=2]"), ("Discs", "discs[size=32]")):
        assert f"<bdi>{name}</bdi>" in board
        assert board.count(spec) == 1


def test_the_command_writes_the_page_and_equal_folders_give_equal_pages(hostile, command, tmp_path):
    assert command("report")(hostile[0], "--out", tmp_path / "page.html")[0] == 0
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == hostile[1]
    assert command("report")(tmp_path / "nowhere")[0] == 2


def test_a_page_links_to_the_files_of_a_folder_that_moves_with_it(hostile, builtin, tmp_path, charts_not_drawn):
    folder = tmp_path / "a b"
    shutil.copytree(hostile[0], folder)
    write_report(folder, tmp_path / "page.html", builtin)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    names = re.findall(r'<a href="(a%20b/[^"]+)">', text)
    assert "a%20b/leaderboard.csv" in names
    assert all((tmp_path / unquote(name)).is_file() for name in names)
    assert hashlib.sha256((folder / "scores.parquet").read_bytes()).hexdigest() in text


def test_the_readme_of_a_folder_gives_its_title_headline_and_picture(tmp_path):
    assert read_readme(tmp_path) == Readme()
    text = "# A `title`\n\nText.\n\n![A](a%20b.svg)\n\n## What it shows\n\n- **Bold `code`**, [a link](x.md)\n\nEnd.\n"
    (tmp_path / "README.md").write_text(text)
    assert read_readme(tmp_path) == Readme("A title", "Bold code", "a b.svg")
    # The headline is the first sentence of the findings.
    (tmp_path / "README.md").write_text("## Findings\nThis is, by [A et al. (2007)](x.md),\n0.5 dB. More.")
    assert read_readme(tmp_path).headline == "This is, by A et al. (2007), 0.5 dB"
    (tmp_path / "README.md").write_bytes(b"\xff")
    assert read_readme(tmp_path) == Readme()
