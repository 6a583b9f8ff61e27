"""The commands ``site`` and ``report`` import and read nothing that forged folders name, and report the forgery."""

import base64
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from hostile_pages import Read
from PIL import Image

from gahbench.registry.registry import Registry
from gahbench.report.page.provenance import load_environment
from gahbench.site.catalogue import load_catalogue
from gahbench.site.pages import Pages
from gahbench.store.plan_file import require_plan, write_plan

#: Forged plugins of a plan; {home} stands for a private folder with pictures and a module.
PICTURES = "{home}/pictures"
FORGERIES = {
    "whole": ("dataset", "whole", {"path": PICTURES}),
    "photos": ("dataset", "photos", {"path": PICTURES, "size": 16}),
    "images": ("dataset", "images", {"path": PICTURES}),
    "faces": ("dataset", "faces", {"path": PICTURES, "size": 16}),
    "hf-dataset": ("dataset", "hf-dataset", {"path": PICTURES}),
    "nested-text": ("dataset", "finite", {"dataset": f"whole[path={PICTURES}]"}),
    "nested-mapping": ("dataset", "finite", {"dataset": {"whole": {"path": PICTURES}}}),
    "module": ("entrant", "module", {"factory": "evilmod:Net"}),
    "archive": ("entrant", "module", {"factory": "{home}/archive.pt"}),
    "nested-module": ("entrant", "untrained", {"architecture": "module[factory=evilmod:Net]"}),
    "checkpoint": ("entrant", "pretrained", {"architecture": "module[evilmod:Net]", "checkpoint": "{home}/archive.pt"}),
    "torchscript": ("entrant", "torchscript", {"checkpoint": "{home}/archive.pt"}),
    "download": ("entrant", "timm-unet", {"pretrained": True}),
    "weights": ("entrant", "drunet", {"weights": "{home}/archive.pt"}),
}
LABELS = {"dataset": "discs[size=16]", "entrant": "unet[width=2,levels=1]"}

_watched: list[str] = []
_opened: list[str] = []


def _audit(event, arguments):
    if _watched and event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str):
        _opened.extend(arguments[0] for home in _watched if arguments[0].startswith(home))


@pytest.fixture(scope="module")
def audited():
    """Install an audit hook that records opened files; it cannot be removed, and is idle between tests."""
    sys.addaudithook(_audit)


@pytest.fixture
def home(audited, tmp_path, monkeypatch):
    """A folder of private files and an importable module; ``_opened`` records the files that are opened there."""
    home = tmp_path / "private"
    (home / "pictures").mkdir(parents=True)
    for number in range(4):
        picture = np.random.default_rng(number).integers(0, 255, (32, 32), dtype=np.uint8)
        Image.fromarray(picture).save(home / "pictures" / f"{number}.png")
    (home / "evilmod.py").write_text("from torch import nn\n\nclass Net(nn.Identity): ...\n", encoding="utf-8")
    (home / "archive.pt").write_bytes(b"PK\x03\x04")
    monkeypatch.syspath_prepend(home)
    _opened.clear()
    # What other processes open is not recorded.
    monkeypatch.setattr("gahbench.site.processes.MAX_PROCESSES", 1)
    monkeypatch.setattr(sys.modules[__name__], "_watched", [str(home / name) for name in ("pictures", "evil", "arch")])
    yield home
    sys.modules.pop("evilmod", None)


def fill_home(value, home):
    if isinstance(value, dict):
        return {name: fill_home(item, home) for name, item in value.items()}
    return value.replace("{home}", str(home)) if isinstance(value, str) else value


@pytest.fixture
def forge(kept_run, home, tmp_path):
    """A function that returns a folder with a results folder whose plan names other plugins than the run used."""

    def forge_folder(*forgeries):
        folder = tmp_path / "results" / "forged"
        shutil.copytree(kept_run, folder)
        plan = require_plan(folder)
        for kind, name, parameters in forgeries:
            forged = {"name": name, "parameters": fill_home(parameters, home), "label": LABELS[kind]}
            units = tuple(
                replace(unit, payload=unit.payload | {kind: unit.payload[kind] | forged})
                if getattr(unit, kind) == LABELS[kind]
                else unit
                for unit in plan.units
            )
            assert units != plan.units
            plan = replace(plan, units=units)
        write_plan(folder, plan)
        return folder.parent

    return forge_folder


@pytest.mark.usefixtures("charts_not_drawn")
@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_plugins_are_neither_imported_nor_read(forge, command, tmp_path, forgery):
    folder = forge(FORGERIES[forgery])
    assert command("site")(folder, "--out", tmp_path / "out")[0] == 0
    assert command("report")(folder / "forged", "--out", tmp_path / "report.html")[0] == 0
    assert _opened == []
    assert "evilmod" not in sys.modules


@pytest.fixture
def texts(kept_run, home, tmp_path):
    """A folder of results with symbolic links that lead out of the folder."""
    folder = tmp_path / "results"
    shutil.copytree(kept_run, folder / "kept")
    (home / "secret.txt").write_text("secret", encoding="utf-8")
    (home / "environment.json").write_text('{"date": "secret"}', encoding="utf-8")
    (home / "pictures" / "SECRET.md").write_text("# secret", encoding="utf-8")
    (folder / "kept" / "link.txt").symlink_to(home / "secret.txt")
    (folder / "kept" / "link.png").symlink_to(home / "pictures" / "0.png")
    (folder / "kept" / "environment.json").unlink()
    (folder / "kept" / "environment.json").symlink_to(home / "environment.json")
    _opened.clear()
    return folder


def pages_of(folder):
    registry = Registry()
    return Pages(folder, load_catalogue(folder, registry), registry, "title")


def test_svg_files_are_embedded_as_images_and_markup_is_not_copied(texts):
    markup = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    names = ("x.svg", "x.html", "x.txt", "x.yaml")
    for name in names:
        (texts / "kept" / name).write_bytes(b"\n " + markup)
    (texts / "kept" / "plain.txt").write_text("a < b", encoding="utf-8")
    links = " ".join(f"[{name}]({name})" for name in (*names, "plain.txt", "link.txt"))
    (texts / "kept" / "README.md").write_text(f"![drawn](x.svg) ![out](link.png) {links}\n", encoding="utf-8")
    pages = pages_of(texts)
    read = Read(pages.rendered_readmes["kept/README.md"].markup)
    (image,) = [of for tag, of in read.tags if tag == "img"]
    assert image["alt"] == "drawn"
    assert base64.b64decode(image["src"].removeprefix("data:image/svg+xml;base64,")).strip() == markup
    # No file of the site is markup that a browser may open as a page.
    assert list(pages.links.files.values()) == [b"a < b"]
    assert [of["href"] for tag, of in read.tags if tag == "a"] == [f"../{name}" for name in pages.links.files]
    assert _opened == []


def test_svg_files_of_a_page_have_a_total_size_limit(texts, monkeypatch):
    monkeypatch.setattr("gahbench.site.markdown.MAX_SVG_BYTES", 1000)
    (texts / "kept" / "x.svg").write_bytes(b"<svg>".ljust(400))
    (texts / "kept" / "large.svg").write_bytes(b"<svg>".ljust(1001))
    (texts / "kept" / "README.md").write_text("![large](large.svg) " + 5 * "![x](x.svg) ", encoding="utf-8")
    assert pages_of(texts).rendered_readmes["kept/README.md"].markup.count("data:image/svg+xml") == 2


def test_links_out_of_the_folder_and_large_texts_are_warned_about(texts, home, monkeypatch):
    shutil.copytree(texts / "kept", home / "mine")
    (texts / "linked").symlink_to(home / "mine")
    (texts / "kept" / "README.md").symlink_to(home / "pictures" / "SECRET.md")
    monkeypatch.setattr("gahbench.site.pages.MAX_BYTES", 1000)
    (texts / "README.md").write_text(1001 * "x", encoding="utf-8")
    with pytest.warns(
        UserWarning, match=f"left out: {texts}/linked: is a symbolic link that leads out of {texts}; copy it"
    ):
        pages = pages_of(texts)
    with pytest.warns(UserWarning, match="left out") as warned:
        assert pages.rendered_readmes == {}
    messages = "\n".join(str(warning.message) for warning in warned)
    assert f"left out: {texts / 'kept' / 'README.md'}: is a folder, link or special file" in messages
    assert f"left out: {texts / 'README.md'}: has 1,001 bytes; accepted: up to 1,000" in messages
    assert [load_environment(run.source.folder) for run in pages.catalogue.runs] == [{}]
    assert _opened == []
