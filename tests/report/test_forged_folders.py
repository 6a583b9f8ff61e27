"""The commands ``site`` and ``report`` import and read nothing that forged folders name, and report the forgery."""

import io
import json
import shutil
import struct
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gahbench.registry.registry import Registry
from gahbench.report.page.readme import MAX_BYTES, Readme, read_readme
from gahbench.report.page.report import load_environment
from gahbench.site.pages import thumbnail, write_site
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
    "nested-module": ("entrant", "untrained", {"architecture": "module[factory=evilmod:Net]"}),
    "checkpoint": ("entrant", "pretrained", {"architecture": "module[evilmod:Net]", "checkpoint": "{home}/archive.pt"}),
    "download": ("entrant", "timm-unet", {"pretrained": True}),
}
LABELS = {"dataset": "sinusoids[size=16]", "entrant": "unet[width=2,levels=1]"}

_watched: list[str] = []
_opened: list[str] = []


def bomb():
    """Return a small PNG file with a billion pixels."""
    buffer = io.BytesIO()
    Image.new("1", (1, 1)).save(buffer, "PNG")
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 20_000, 1, 0, 0, 0, 0)
    content = buffer.getvalue()
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


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
    monkeypatch.setattr(sys.modules[__name__], "_watched", [str(home / name) for name in ("pictures", "evil", "arch")])
    yield home
    sys.modules.pop("evilmod", None)


def forge(run, folder, home, kind, name, parameters):
    """Copy a results folder, with a plan that names another plugin than the run used."""
    shutil.copytree(run, folder)
    plan = require_plan(folder)
    parameters = json.loads(json.dumps(parameters).replace("{home}", str(home)))
    forged = {"name": name, "parameters": parameters, "label": LABELS[kind]}
    units = tuple(
        replace(unit, payload=unit.payload | {kind: unit.payload[kind] | forged})
        if getattr(unit, kind) == LABELS[kind]
        else unit
        for unit in plan.units
    )
    assert units != plan.units
    write_plan(folder, replace(plan, units=units))


@pytest.mark.usefixtures("charts_not_drawn")
def test_forged_plugins_are_neither_imported_nor_read(kept_run, home, command, tmp_path):
    for forgery, plugin in FORGERIES.items():
        forge(kept_run, tmp_path / "results" / forgery, home, *plugin)
    assert command("site")(tmp_path / "results", "--out", tmp_path / "out")[0] == 0
    assert {file.stem for file in (tmp_path / "out" / "runs").glob("*.html")} == set(FORGERIES)
    assert command("report")(tmp_path / "results" / "module", "--out", tmp_path / "report.html")[0] == 0
    assert _opened == []
    assert "evilmod" not in sys.modules


@pytest.mark.usefixtures("charts_not_drawn")
def test_links_out_of_the_folder_are_not_followed(kept_run, home, tmp_path):
    folder, secret = tmp_path / "results", home / "pictures" / "SECRET.md"
    shutil.copytree(kept_run, folder / "kept")
    secret.write_text("# secret", encoding="utf-8")
    (home / "pictures" / "environment.json").write_text('{"date": "secret"}', encoding="utf-8")
    shutil.copytree(kept_run, home / "mine")
    (folder / "linked").symlink_to(home / "mine")
    for name in ("kept/leaderboard.csv", "kept/environment.json", "kept/picture.png"):
        (folder / name).unlink(missing_ok=True)
    (folder / "kept" / "leaderboard.csv").symlink_to(secret)
    (folder / "kept" / "environment.json").symlink_to(home / "pictures" / "environment.json")
    (folder / "kept" / "picture.png").symlink_to(home / "pictures" / "0.png")
    (folder / "README.md").symlink_to(secret)
    shutil.rmtree(folder / "kept" / "figures")
    (folder / "kept" / "figures").symlink_to(home / "pictures")
    (folder / "kept" / "README.md").write_text("![out](picture.png)\n", encoding="utf-8")
    _opened.clear()
    with pytest.warns(UserWarning, match=f"left out: {folder}/linked: is a symbolic link that leads out of {folder}"):
        files = write_site(folder, tmp_path / "out", Registry())
    assert not any("leaderboard" in name for name in files)
    assert not any(b"secret" in (tmp_path / "out" / name).read_bytes() for name in files)
    assert load_environment(folder / "kept") == {}
    assert _opened == []


@pytest.mark.parametrize(
    "content",
    [b"", b"<svg><script>alert(1)</script></svg>", b"\x89PNG\r\n\x1a\n", bomb()],
    ids=("empty", "svg", "cut", "bomb"),
)
def test_files_that_are_no_pictures_are_not_shown(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    assert thumbnail(tmp_path, "x.png") == ""
    assert thumbnail(tmp_path, "../x.png") == ""


def test_texts_that_are_too_large_are_not_read(tmp_path):
    (tmp_path / "README.md").write_text(f"# {MAX_BYTES * 'x'}", encoding="utf-8")
    assert read_readme(tmp_path) == Readme()
