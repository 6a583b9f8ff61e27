"""Tests of ``plan.json``: plans are read back unchanged, and invalid files are refused by an error naming the file."""

import math
from pathlib import Path

import pytest
from attack.hostile_files import CONTENTS, make_special
from finished_units import EMPTY_BOARD

from gahbench._util.errors import ResultsError
from gahbench._util.records import parse_sealed, write_sealed
from gahbench.contracts.unit import Unit
from gahbench.store import plan_file
from gahbench.store.plan_file import RecordedPlan, copy_plugins, read_plan, require_plan, write_plan

PLUGIN = {"name": "e", "parameters": {}, "identity": "0", "origins": [], "label": "e"}
PAYLOAD = {"dataset": PLUGIN, "entrant": PLUGIN, "metric": PLUGIN, "images": 3, "sigmas": [0.1]}


@pytest.fixture
def plan(tmp_path):
    key = ("reference", None, "test", "psnr", None, math.inf)
    plan = RecordedPlan(
        *("s", (Unit("score", "k", "d", "e", *key, PAYLOAD, document={"a": 1}),), EMPTY_BOARD, 2),
        plugins=("plugins/x/y.py",),
        suite_text="name: s  # of one unit\n",
        changes=("--set training.steps=2",),
    )
    write_plan(tmp_path, plan)
    return plan


def test_a_plan_is_read_back_unchanged(plan, tmp_path):
    assert require_plan(tmp_path) == plan


def test_a_changed_plan_is_refused_unless_only_line_endings_changed(plan, tmp_path):
    file = tmp_path / "plan.json"
    text = file.read_bytes()
    file.write_bytes(text.replace(b"\n", b"\r\n"))
    assert require_plan(tmp_path) == plan
    file.write_bytes(text.replace(b'"threads": 2', b'"threads": 1'))
    with pytest.raises(ResultsError, match=r"plan.json: .*its checksum does not match its content.*'--reuse"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("units", value) for value in ([3], [{"kind": "fit"}])),
        *(("threads", value) for value in (-1, "two")),
        *(("plugins", value) for value in ("x", ["../x.py"], ["/x.py"], ["x\0.py"])),
        ("values", 5),
        *(("units.0.key", value) for value in ("../../x", "a/b", "")),
        *(("units.0.seed", value) for value in (-1, 10**30, 1.5)),
        ("units.0.split", "tests"),
        ("units.0.requires", "/x"),
        ("units.0.payload", None),
    ],
)
def test_a_plan_with_an_invalid_field_is_refused(plan, tmp_path, field, value):
    file = tmp_path / "plan.json"
    content = parse_sealed(file.read_bytes())
    parent = content["units"][0] if "." in field else content
    parent[field.rpartition(".")[2]] = value
    write_sealed(file, content)
    with pytest.raises(ResultsError, match=r"plan\.json: cannot be read as a plan of gahbench \("):
        read_plan(tmp_path)


@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_that_is_not_a_sealed_json_object_is_refused(tmp_path, content):
    (tmp_path / "plan.json").write_bytes(CONTENTS[content])
    with pytest.raises(ResultsError, match=r"plan\.json: "):
        read_plan(tmp_path)


@pytest.mark.parametrize("kind", ["fifo", "folder", "socket", "zero", "loop"])
def test_a_special_file_is_refused_and_does_not_block(tmp_path, kind):
    make_special(kind, tmp_path / "plan.json")
    with pytest.raises(ResultsError, match=r"plan\.json: "):
        read_plan(tmp_path)


def test_a_plan_of_another_suite_is_refused(plan, tmp_path):
    assert read_plan(tmp_path, "s") == plan
    with pytest.raises(ResultsError, match="holds results of the suite 's', not 't'; give another folder"):
        read_plan(tmp_path, "t")


def test_a_huge_plan_is_refused(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_file, "MAX_BYTES", 100)
    with pytest.raises(ResultsError, match=r"has [0-9,]+ bytes; accepted: up to 100"):
        read_plan(tmp_path)


def test_copies_of_plugins_hold_their_neighbours_and_are_kept_apart(tmp_path):
    mine, other = tmp_path / "mine.py", tmp_path / "other" / "yours.py"
    other.parent.mkdir()
    other.write_text("")
    mine.write_text("import _neighbour\n")
    (tmp_path / "_neighbour.py").write_text("X = 1\n")
    copied = copy_plugins([mine, other], tmp_path / "out")
    assert [Path(name).name for name in copied] == ["mine.py", "yours.py"]
    folders = [(tmp_path / "out" / name).parent for name in copied]
    files = [{file.name for file in folder.iterdir()} for folder in folders]
    assert files == [{"mine.py", "_neighbour.py"}, {"yours.py"}]
    # The copies of an earlier run do not change.
    mine.write_text("import _neighbour  # changed\n")
    assert set(copy_plugins([mine], tmp_path / "out")).isdisjoint(copied)
    assert (tmp_path / "out" / copied[0]).read_text() == "import _neighbour\n"
