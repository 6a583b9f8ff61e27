"""Reports of results folders, and sites of them, without a browser: content, links, and the escaping of texts."""

import hashlib
import os
import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from fake_results import realistic, results
from hostile_pages import HOSTILE, NAME, RUN, Read

from gahbench import load_results
from gahbench._util.errors import GahbenchError
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.registry.registry import Registry
from gahbench.report.page.readme import Readme, read_readme
from gahbench.report.page.report import html_report
from gahbench.report.publish import publish
from gahbench.runs.collect import collect
from gahbench.site.pages import write_site
from gahbench.store.plan_file import record_plan


@pytest.fixture(scope="module")
def pages(site):
    files = site[1].rglob("*.html")
    return {file.relative_to(site[1]).as_posix(): Read(file.read_text(encoding="utf-8")) for file in files}


def test_every_link_leads_somewhere(site, pages):
    seen = set()
    for name, read in pages.items():
        for address in read.addresses:
            parts = urlsplit(address)
            if parts.scheme:
                assert address.startswith(("data:", "https://arxiv.org/abs/", "https://doi.org/"))
                continue
            file = (site[1] / name).parent / unquote(parts.path) if parts.path else site[1] / name
            assert file.is_file(), (name, address)
            target = os.path.relpath(file, site[1])
            seen.add(target)
            if parts.fragment:
                identifiers = {of.get("id") for _, of in pages[target].tags}
                assert unquote(parts.fragment) in identifiers, (name, address)
    # Every page, and every table, is the target of a link.
    files = {file.relative_to(site[1]).as_posix() for file in site[1].rglob("*") if file.is_file()}
    assert seen == files - {"site.json"}


def test_hostile_names_are_escaped_and_files_have_safe_names(site, pages):
    names = [file.relative_to(site[1]).as_posix() for file in site[1].rglob("*") if file.is_file()]
    assert all(re.fullmatch(r"[A-Za-z0-9_.=+/-]+", name) for name in names)
    assert len({name.lower() for name in names}) == len(names)
    assert all(text in pages["index.html"].text for text in (*HOSTILE, NAME, RUN))
    report = pages["runs/b_run.html"]
    assert all(text in report.text for text in (*HOSTILE, NAME, "</pre><script>", "Error: <b>bold</b>"))
    assert all(of["src"].startswith("data:image/svg+xml;base64,") for tag, of in report.tags if tag == "img")
    for name, read in pages.items():
        read.check_policy()
        identifiers = [of["id"] for _, of in read.tags if "id" in of]
        assert len(identifiers) == len(set(identifiers))
        page = (site[1] / name).read_text(encoding="utf-8")
        assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(identifiers)


def test_the_index_shows_each_board_dataset_and_entrant(site, pages):
    page, text = (site[1] / "index.html").read_text(encoding="utf-8"), pages["index.html"].text
    # Boards have the order of the links in the README.md of the folder; other boards come last.
    assert text.index("What\n") < text.index(RUN)
    assert "<p>&lt;i&gt;This&lt;/i&gt; &amp; that.</p>" in page
    images = [of for tag, of in pages["index.html"].tags if tag == "img" and "figure of" in of["alt"]]
    # A page chooses the picture of its board; other boards show their first figure.
    assert [image["src"].partition(";")[0] for image in images] == ["data:image/png", "data:image/svg+xml"]
    for name in (RUN, "kept"):
        board = load_results(site[0] / name).leaderboard()
        assert len(board)
        for label in board["entrant"]:
            assert label in text or f'title="{label}"' in page


def test_a_report_has_its_suite_file_and_the_claims_that_it_measures(site, pages, kept_run):
    text = pages["runs/kept.html"].text
    assert (kept_run.parent / "kept.yaml").read_text(encoding="utf-8") in text
    assert "author-2020/above-input" in text
    assert 'id="claims"' not in (site[1] / "runs" / "b_run.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("figures_not_rendered", "charts_not_drawn")
def test_a_site_replaces_an_earlier_site_and_nothing_else(builtin, tmp_path):
    folder, out = tmp_path / "results", tmp_path / "out"
    scores, fits, datasets = realistic([("a", "classical", 2, 0.6, 1)], NAME, (0.1,), images=5)
    publish(results(scores, fits, datasets=datasets), folder / "fake", "0" * 64)
    claims = "# Claims\n\nOf [this](fake/README.md) and [that](../that.md).\n\n|a|\n|-|\n|<b>|\n"
    (folder / "claims.md").write_text(claims, encoding="utf-8")
    (folder / "fake" / "README.md").write_text("# A board\n", encoding="utf-8")
    files = write_site(folder, out, builtin)
    contents = {name: (out / name).read_bytes() for name in files}
    assert write_site(folder, out, builtin) == files
    assert {name: (out / name).read_bytes() for name in files} == contents
    # Links to boards lead to reports, and other links of the page of claims are text.
    page = Read(contents["claims.html"].decode())
    assert "runs/fake.html" in page.addresses
    assert "../that.md" not in page.addresses
    assert "<b>" in page.text
    # The documentation has pages of boards and claims.
    (out / "site.json").write_text((out / "site.json").read_text().replace('"index.html"', '"index.html", "old.html"'))
    (out / "old.html").write_text("old", encoding="utf-8")
    assert write_site(folder, out, builtin, documentation="docs") == [name for name in files if name != "claims.html"]
    assert not (out / "old.html").exists()
    addresses = Read((out / "runs" / "fake.html").read_text(encoding="utf-8")).addresses
    assert {"../docs/results/fake/README.html", "../docs/results/claims.html", "../docs/search.html"} <= set(addresses)
    # A folder of other files, a folder outside the site, and a folder without results are refused.
    for source, target, pages in ((folder, folder, ""), (folder, out, "../docs"), (tmp_path / "gone", out, "")):
        with pytest.raises(GahbenchError):
            write_site(source, target, builtin, documentation=pages)


@pytest.mark.usefixtures("figures_not_rendered", "charts_not_drawn")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_pages_show_the_published_board_after_its_plan_was_changed(kept_run, tmp_path):
    out, suite, registry = tmp_path / "runs" / "out", tmp_path / "kept.yaml", Registry()
    shutil.copytree(kept_run, out)
    text = (kept_run.parent / "kept.yaml").read_text(encoding="utf-8")
    text = text.replace("levels: 1}", "levels: 1, label: Mine}").replace("size: 16}", "size: 16, label: Discs}")
    suite.write_text(text, encoding="utf-8")
    record_plan(out, make_plan(load_suite(suite, registry)), registry.files)
    write_site(tmp_path / "runs", tmp_path / "site", registry)
    assert "unet[width=2,levels=1]" in (tmp_path / "site" / "runs" / "out.html").read_text(encoding="utf-8")
    collect(out)
    assert "Mine" in load_results(out).entrants


def test_pages_show_names_and_list_their_specs_once(builtin, charts_not_drawn):
    page = html_report(Path(__file__).parents[2] / "results" / "quick", builtin)
    board = page.partition('<section id="board"')[2].partition("</section>")[0]
    for name, spec in (("U-Net", "unet[width=16,levels=2]"), ("Discs", "discs[size=32]")):
        assert f"<bdi>{name}</bdi>" in board
        assert board.count(spec) == 1


def test_the_command_writes_equal_pages_that_link_to_the_files_of_a_folder_beside_them(
    hostile, command, tmp_path, charts_not_drawn
):
    folder = tmp_path / "a b"
    shutil.copytree(hostile[0], folder)
    for name in ("one.html", "two.html"):
        assert command("report")(folder, "--out", tmp_path / name)[0] == 0
    text, again = ((tmp_path / name).read_text(encoding="utf-8") for name in ("one.html", "two.html"))
    assert text == again
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
