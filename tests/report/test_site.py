"""A site of results folders, without a browser: its pages, its links, and the escaping of texts."""

import json
import os
import re
import shutil
from urllib.parse import unquote, urlsplit

import pytest
from fake_results import realistic, results
from hostile_pages import HOSTILE, NAME, RUN, Read

from gahbench import load_results
from gahbench._util.errors import ParameterError
from gahbench.board.claim_values import Table
from gahbench.board.claims import judge, known_claims
from gahbench.contracts.claims import CHECKED
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.registry.registry import Registry
from gahbench.report.claims import needed_measurements, summarize
from gahbench.report.publish import publish
from gahbench.runs.collect import collect
from gahbench.site.markdown import render_markdown
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
                works = ("https://arxiv.org/abs/", "https://doi.org/")
                assert parts.scheme == "data" or address == "https://example.org/a?b=c" or address.startswith(works)
                continue
            file = (site[1] / name).parent / unquote(parts.path) if parts.path else site[1] / name
            assert file.is_file(), (name, address)
            target = os.path.relpath(file, site[1])
            seen.add(target)
            if parts.fragment:
                identifiers = {of.get("id") for _, of in pages[target].tags}
                assert unquote(parts.fragment) in identifiers, (name, address)
    # Every page is the target of a link.
    assert seen >= set(pages)


def test_hostile_names_are_escaped_and_files_have_safe_names(site, pages):
    names = [file.relative_to(site[1]).as_posix() for file in site[1].rglob("*") if file.is_file()]
    assert all(re.fullmatch(r"[A-Za-z0-9_.=+/-]+", name) for name in names)
    assert len({name.lower() for name in names}) == len(names)
    for text in (*HOSTILE, NAME, RUN):
        assert text in pages["index.html"].text
    for read in pages.values():
        read.check_policy()
        assert not any(tag == "style" for tag, _ in read.tags)


def test_readmes_are_rendered_without_their_markup(site, pages):
    read = pages["reading.html"]
    page = (site[1] / "reading.html").read_text(encoding="utf-8")
    assert '<script>alert(1)</script> and <b onclick="x()">bold</b>' in read.text
    assert "<h1><bdi>Boards &amp; &lt;i&gt;more&lt;/i&gt;</bdi></h1>" in page
    links = {of["href"] for tag, of in read.tags if tag == "a"}
    assert {"#s-same-1", "runs/kept.html", "reading/kept.html#s-what-it-says", "claims.html"} <= links
    assert "https://example.org/a?b=c" in links
    assert not any(link.startswith(("javascript:", "data:")) for link in links)
    # Files outside the folder are neither linked nor copied.
    copies = sorted(file.name for file in (site[1] / "files").iterdir() if "-figures-" not in file.name)
    assert [re.sub("-[0-9a-f]{16}", "", name) for name in copies] == ["figure.csv", "figure.png"]
    assert "rooms" in read.text
    assert "far" in read.text
    assert [of["alt"] for tag, of in read.tags if tag == "img"] == ["a figure"]
    assert '<td class="left">a</td>\n<td>1.0</td>' in page


def test_claims_are_judged_by_all_runs(site, pages, registry):
    page, read = (site[1] / "claims.html").read_text(encoding="utf-8"), pages["claims.html"]
    assert "<h1><bdi>All claims</bdi></h1>" in page
    assert "of old" not in page
    tables = [Table(name, load_results(site[0] / name)) for name in (RUN, "kept")]
    verdicts = [judge(name, claim, tables) for name, claim in known_claims(registry).items()]
    assert summarize(verdicts) in read.text
    for verdict in verdicts:
        assert verdict.name in read.text
        assert needed_measurements(verdict).replace("`", "") in read.text
    (measured,) = [verdict for verdict in verdicts if verdict.decisive]
    assert measured.decisive.folder == "kept"
    assert "runs/kept.html#claims" in read.addresses
    # The page of a run has the claims that it measures.
    text = " ".join(pages["runs/kept.html"].text.split())
    section = text[text.rindex("Claims Statements of publications") : text.rindex("Provenance")]
    assert re.findall(r"[a-z]+-\d{4}/[\w-]+", section) == [measured.name]
    claim = measured.claim
    after = f"{claim.statement}{measured.name}, {claim.location}; {CHECKED[claim.checked]}{measured.outcome}"
    assert after in section


def test_the_search_of_the_documentation_finds_every_page_about_results(site, pages):
    text = (site[1] / "assets" / "entries.js").read_text(encoding="utf-8")
    entries = json.loads(text.removeprefix("const siteEntries = ").removesuffix(";\n"))
    addresses = {address for _, address, _, _ in entries}
    assert {page for page in pages if page.startswith("runs/")} <= addresses
    for _, address, kind, _ in entries:
        page, _, anchor = address.partition("#")
        assert page in pages
        assert bool(anchor) == (kind != "board")
        assert not anchor or any(attributes.get("id") == anchor for _, attributes in pages[page].tags)
    assert {kind for _, _, kind, _ in entries} == {"board", "dataset", "claim"}


def test_headings_of_external_pages_have_no_prefix():
    requested = []

    def link(path):
        requested.append(path)
        return f"https://example.org/{path}"

    rendered = render_markdown("[one](../a.md#b) [two](x.md)", link, lambda path: None)
    assert requested == ["../a.md", "x.md"]
    # Only the headings of the site have the prefix.
    assert 'href="https://example.org/../a.md#b"' in rendered.markup


def test_a_report_contains_its_suite_file(pages, kept_run):
    assert (kept_run.parent / "kept.yaml").read_text(encoding="utf-8") in pages["runs/kept.html"].text
    other = next(read for name, read in pages.items() if name.startswith("runs/") and name != "runs/kept.html")
    assert "This folder does not hold the suite file." in other.text


@pytest.mark.usefixtures("figures_not_rendered", "charts_not_drawn")
def test_a_site_replaces_an_earlier_site_and_nothing_else(builtin, tmp_path):
    folder, out = tmp_path / "results", tmp_path / "out"
    scores, fits, datasets = realistic([("a", "classical", 2, 0.6, 1)], NAME, (0.1,), images=5)
    publish(results(scores, fits, datasets=datasets), folder / "fake", "0" * 64)
    files = write_site(folder, out, builtin, base_url="https://example.org/b")
    first_files = {name: (out / name).read_bytes() for name in files if name != "site.json"}
    urls = re.findall("<loc>https://example.org/b/(.*?)</loc>", first_files.pop("sitemap.xml").decode())
    assert sorted(map(unquote, urls)) == [name for name in files if name.endswith(".html")]
    assert set(files) - set(write_site(folder, out, builtin)) == {"sitemap.xml"}
    assert not (out / "sitemap.xml").exists()
    assert {name: (out / name).read_bytes() for name in first_files} == first_files
    with pytest.raises(ParameterError, match="contains files other than a site; expected a new or an empty folder"):
        write_site(folder, folder, builtin)
    with pytest.raises(ParameterError, match=r"--base-url example\.org: expected the URL of a folder"):
        write_site(folder, tmp_path / "new", builtin, base_url="example.org")


@pytest.mark.usefixtures("figures_not_rendered", "charts_not_drawn")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_pages_show_the_published_board_and_warn_if_its_plan_was_changed(kept_run, tmp_path):
    out, suite, registry = tmp_path / "runs" / "out", tmp_path / "kept.yaml", Registry()
    shutil.copytree(kept_run, out)
    text = (kept_run.parent / "kept.yaml").read_text(encoding="utf-8")
    text = text.replace("levels: 1}", "levels: 1, label: Mine}").replace("size: 16}", "size: 16, label: Discs}")
    suite.write_text(text, encoding="utf-8")
    record_plan(out, make_plan(load_suite(suite, registry)), registry.files)
    with pytest.warns(
        UserWarning, match=rf"plan was changed after .*'gahbench leaderboard {out}' writes the board again"
    ):
        write_site(tmp_path / "runs", tmp_path / "site", registry)
    assert "unet[width=2,levels=1]" in (tmp_path / "site" / "runs" / "out.html").read_text(encoding="utf-8")
    collect(out)
    assert "Mine" in load_results(out).entrants


@pytest.mark.filterwarnings("default:left out")
def test_a_folder_without_results_is_refused(command, tmp_path):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "results.json").write_text("{", encoding="utf-8")
    status, _, errors = command("site")(tmp_path, "--out", tmp_path / "out")
    assert status == 2
    assert "warning: left out:" in errors
    assert "holds no results; expected a folder of results folders" in errors
    status, _, errors = command("site")(tmp_path / "nowhere", "--out", tmp_path / "out")
    assert (status, "holds no results" in errors) == (2, True)
