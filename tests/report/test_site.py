"""A site of results folders, without a browser: its pages, where its links lead, and that texts stay texts."""

import os
import re
import shutil
from pathlib import Path
from unittest import mock
from urllib.parse import unquote, urlsplit

import pytest
from test_page import HOSTILE, NAME, Read, hostile  # noqa: F401

from gahbench import load_results
from gahbench._util.errors import ParameterError, ResultsError
from gahbench.board.claim_values import Table
from gahbench.board.claims import judge, known_claims
from gahbench.explore.description import Fact
from gahbench.explore.preview import make_preview
from gahbench.registry.registry import open_registry
from gahbench.report.cells import file_stems
from gahbench.report.claims import summary, wanted
from gahbench.site.described import description
from gahbench.site.pages import write_site
from gahbench.site.reading import inline, reading

RUN = "\"><b>run' 🌲"
README = """# Boards & <i>more</i>

<script>alert(1)</script> and <b onclick="x()">bold</b>, [script](javascript:alert(1)), [data](data:text/html,x).

## Same
## Same
[second](#same-1), [the run](kept/leaderboard.md), [its text](kept/README.md#what-it-says), [outside](secret.csv),
[rooms](../plugins/README.md#a), [claims](claims.md), [kept](figure.csv),
[elsewhere](https://example.org/a?b=c), ![a figure](figure.png),
![far](https://example.org/x.png)

| name | dB |
| --- | ---: |
| a | 1.0 |

```python
print("<b>")
```
"""


#: A claim that the run of other tests measures.
CLAIM = """
paper: {authors: "Author, An", title: On optimal denoisers, year: 2020, journal: A Journal}
claims:
  above-input:
    place: abstract
    checked: memory
    statement: The optimum is above the noisy image.
    measure: {metric: psnr, entrants: optimal, datasets: "*", sigma: mean, minus: {entrant: identity}}
    region: {above: 0}
    suite: quick
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    file = tmp_path_factory.mktemp("claims") / "author-2020.yaml"
    file.write_text(CLAIM, encoding="utf-8")
    return open_registry([file])


@pytest.fixture(scope="module")
def site(hostile, kept_run, registry, tmp_path_factory):  # noqa: F811
    """A folder of results with hostile names and texts, and its site."""
    home = tmp_path_factory.mktemp("site")
    folder = home / "results"
    folder.mkdir()
    shutil.copytree(hostile[0], folder / RUN)
    shutil.copytree(kept_run, folder / "kept")
    (folder / "kept" / "README.md").write_text("# What\n\n## What it says\n[back](../README.md)\n", encoding="utf-8")
    (folder / "README.md").write_text(README, encoding="utf-8")
    claims = "# All claims\n\n[back](README.md)\n\n<!-- generated -->\n\nof old\n"
    (folder / "claims.md").write_text(claims, encoding="utf-8")
    (folder / "figure.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "figure.csv").write_text("a\n", encoding="utf-8")
    (home / "secret.csv").write_text("secret\n", encoding="utf-8")
    (folder / "secret.csv").symlink_to(home / "secret.csv")
    made(folder, home / "out", registry, base_url="https://example.org/b")
    return folder, home / "out"


def made(folder, out, registry, **options):
    """Write a site whose networks are not measured."""

    def previewed(configured):
        return make_preview(configured, [0.1], count=1, max_pixels=256)

    facts = [Fact("receptive field", "7x7 pixels"), Fact("citation", "none"), Fact("blind", "unknown: /a/file")]
    with (
        mock.patch("gahbench.site.pages.measured_facts", return_value=facts),
        mock.patch("gahbench.site.described._previewed", previewed),
    ):
        return write_site(folder, out, registry, **options)


def pages_of(out):
    return {file.relative_to(out).as_posix(): Read(file.read_text(encoding="utf-8")) for file in out.rglob("*.html")}


def addresses(read):
    return [of[name] for _, of in read.tags for name in ("href", "src") if of.get(name)]


def test_every_link_leads_somewhere(site):
    pages = pages_of(site[1])
    seen = set()
    for name, read in pages.items():
        for address in addresses(read):
            parts = urlsplit(address)
            if parts.scheme:
                assert parts.scheme == "data" or address == "https://example.org/a?b=c", address
                continue
            file = (site[1] / name).parent / unquote(parts.path) if parts.path else site[1] / name
            assert file.is_file(), (name, address)
            target = os.path.relpath(file, site[1])
            seen.add(target)
            if parts.fragment:
                identifiers = {of.get("id") for _, of in pages[target].tags}
                assert unquote(parts.fragment) in identifiers, (name, address)
    # All pages are reached from others.
    assert seen >= set(pages)


def test_hostile_names_are_texts_and_files_have_safe_names(site):
    pages = pages_of(site[1])
    names = [file.relative_to(site[1]).as_posix() for file in site[1].rglob("*") if file.is_file()]
    assert all(re.fullmatch(r"[A-Za-z0-9_.=+/-]+", name) for name in names)
    assert len({name.lower() for name in names}) == len(names)
    for text in (*HOSTILE, NAME, RUN):
        assert text in pages["index.html"].text
    for name, read in pages.items():
        tags = [tag for tag, _ in read.tags]
        assert tags.count("script") == 1
        assert not {"style", "b", "i", "iframe"} & set(tags), name
        assert not [of for _, of in read.tags if "style" in of or any(key.startswith("on") for key in of)]
        (policy,) = [of["content"] for _, of in read.tags if of.get("http-equiv") == "Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_readmes_are_rendered_without_their_markup(site):
    read = pages_of(site[1])["reading.html"]
    page = (site[1] / "reading.html").read_text(encoding="utf-8")
    assert '<script>alert(1)</script> and <b onclick="x()">bold</b>' in read.text
    assert "<h1><bdi>Boards &amp; &lt;i&gt;more&lt;/i&gt;</bdi></h1>" in page
    links = {of["href"] for tag, of in read.tags if tag == "a"}
    assert {"#s-same-1", "runs/kept.html", "reading/kept.html#s-what-it-says", "claims.html"} <= links
    assert "https://example.org/a?b=c" in links
    assert not any(link.startswith(("javascript:", "data:")) for link in links)
    # What leads out of the folder has no address here, and no link leads to a copy of it.
    copies = sorted(file.name for file in (site[1] / "files").iterdir())
    assert [re.sub("-[0-9a-f]{16}", "", name) for name in copies] == ["figure.csv", "figure.png"]
    assert "rooms" in read.text
    assert "far" in read.text
    assert [of["alt"] for tag, of in read.tags if tag == "img"] == ["a figure"]
    assert '<td class="left">a</td>\n<td>1.0</td>' in page


def test_claims_are_held_against_all_runs(site, registry):
    page = (site[1] / "claims.html").read_text(encoding="utf-8")
    read = pages_of(site[1])["claims.html"]
    assert "<h1><bdi>All claims</bdi></h1>" in page
    assert "of old" not in page
    tables = [Table(name, load_results(site[0] / name)) for name in (RUN, "kept")]
    verdicts = [judge(name, claim, tables) for name, claim in known_claims(registry).items()]
    assert summary([one.outcome for one in verdicts]) in read.text
    for one in verdicts:
        assert one.name in read.text
        assert wanted(one).replace("`", "") in read.text
    measured = [one.decisive for one in verdicts if one.decisive]
    assert [case.folder for case in measured] == ["kept"]
    assert "runs/kept.html#claims" in addresses(read)


def test_links_out_of_the_folder_lead_to_where_it_is_kept():
    asked = []

    def link(path):
        asked.append(path)
        return f"https://example.org/{path}"

    found = reading("[one](../a.md#b) [two](x.md)", link, lambda path: None)
    assert asked == ["../a.md", "x.md"]
    assert inline("``a_b`` is *<i>*") == "<code>a_b</code> is *&lt;i&gt;*"
    # Headings of other pages have no prefix.
    assert 'href="https://example.org/../a.md#b"' in found.markup


def test_an_entrant_has_its_place_on_every_board(site, kept_run):
    board = load_results(kept_run).board.datasets[0]
    entry = next(entry for entry in board.entries if entry.kind == "trained")
    pages = pages_of(site[1])
    title = f"{entry.entrant} – gahbench"
    name = next(name for name in pages if name.startswith("entrants/") and title in pages[name].text)
    ranked = sum(one.rank is not None for one in board.entries)
    rank = f"{entry.rank}" if entry.rank == entry.rank_high else f"{entry.rank}–{entry.rank_high}"
    assert f"{rank} of {ranked}" in pages[name].text
    assert f"{board.estimate(entry.entrant, 'psnr').value:.2f} ±" in pages[name].text
    assert "7x7 pixels" in pages[name].text
    assert "/a/file" not in pages[name].text
    assert f"../datasets/{file_stems([board.dataset])[board.dataset]}.html" in addresses(pages[name])


def test_a_dataset_has_its_card_and_its_images(site):
    pages = pages_of(site[1])
    read = pages["datasets/discs_size=16.html"]
    assert "drawn by gahbench" in read.text
    assert [of["alt"].partition(",")[0] for tag, of in read.tags if tag == "img"] == ["clean", "noisy", "optimal"]
    unknown = next(read for name, read in pages.items() if name.startswith("datasets/") and NAME in read.text)
    assert "not registered where this page was made" in unknown.text
    assert "No images: this dataset could not be made" in unknown.text


def test_a_report_has_the_text_of_its_suite(site, hostile, kept_run):  # noqa: F811
    text = (kept_run.parent / "kept.yaml").read_text(encoding="utf-8")
    pages = pages_of(site[1])
    assert text in pages["runs/kept.html"].text
    other = next(read for name, read in pages.items() if name.startswith("runs/") and name != "runs/kept.html")
    assert "The text of the suite is not kept in this folder." in other.text


def test_another_site_replaces_one_and_nothing_else(site, builtin, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    shutil.copytree(site[0] / "kept", folder / "kept")
    first = made(folder, tmp_path / "out", builtin, base_url="https://example.org/b")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in first}
    assert made(folder, tmp_path / "out", builtin, base_url="https://example.org/b") == first
    assert {name: (tmp_path / "out" / name).read_bytes() for name in first} == before
    places = re.findall("<loc>https://example.org/b/(.*?)</loc>", before["sitemap.xml"].decode())
    assert sorted(map(unquote, places)) == [name for name in first if name.endswith(".html")]
    made(folder, tmp_path / "out", builtin)
    assert not (tmp_path / "out" / "sitemap.xml").exists()
    with pytest.raises(ParameterError, match="holds other things than a site; give a new or an empty folder"):
        made(folder, folder, builtin)
    with pytest.raises(ParameterError, match=r"--base-url example\.org: accepted: the address of a folder"):
        made(folder, tmp_path / "new", builtin, base_url="example.org")


@pytest.mark.filterwarnings("default:left out")
def test_a_folder_without_results_is_refused(command, tmp_path, builtin):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "results.json").write_text("{", encoding="utf-8")
    status, _, errors = command("site")(tmp_path, "--out", tmp_path / "out")
    assert status == 2
    assert "warning: left out:" in errors
    assert "holds no results; expected a folder of results folders" in errors
    with pytest.raises(ResultsError, match="holds no results"):
        made(tmp_path / "nowhere", tmp_path / "out", builtin)


def test_docstrings_are_taken_apart():
    class Blur:
        """A blur.

        With :func:`~scipy.ndimage.gaussian_filter`.

        Parameters
        ----------
        width, height : int
            Of the window,
            in pixels.
        mode
            At borders.

        Raises
        ------
        ValueError
            If not.
        """

    found = description(Blur)
    assert found.text == "A blur.\n\nWith ``scipy.ndimage.gaussian_filter``."
    size = "Of the window, in pixels."
    assert found.parameters == {"width": size, "height": size, "mode": "At borders."}
    assert description(Path.cwd).text
