"""The plan of a folder: what is none is refused in a line that names the file."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from gahbench._util.errors import ResultsError
from gahbench.contracts.unit import Unit
from gahbench.store.plan_file import RecordedPlan, RecordedUnit, read_plan, recorded_plan, write_plan

BOARD = {
    "baseline": "e",
    "entrants": ["e"],
    "datasets": [
        {"dataset": "d", "optimum": "none", "slope": None, "channels": 1, "height": 8, "width": 8, "fingerprint": ""}
    ],
    "metrics": [{"metric": "psnr", "title": "PSNR", "null": ""}],
    "needs": {"psnr": []},
}
PUBLISHED = sorted((Path(__file__).parents[2] / "results").glob("*/plan.json"))


@pytest.fixture
def plan(tmp_path):
    unit = Unit(
        "score", "k", "d", "e", "reference", None, "test", "psnr", None, "c", 2.5, {"images": 3}, document={"a": 1}
    )
    plan = RecordedPlan(
        *("s", (RecordedUnit(unit),), BOARD, 2, ("plugins/x/y.py",), {"a.py": "0"}),
        suite_text="name: s  # of one unit\n",
        changes=("--set training.steps=2",),
    )
    write_plan(tmp_path, plan)
    return plan


def content(folder):
    found = json.loads((folder / "plan.json").read_bytes())
    del found["checksum"]
    return found


def test_a_plan_comes_back(plan, tmp_path):
    assert recorded_plan(tmp_path) == plan
    before = (tmp_path / "plan.json").stat().st_mtime_ns
    write_plan(tmp_path, plan)
    assert (tmp_path / "plan.json").stat().st_mtime_ns == before


def test_a_change_is_noticed_but_for_how_lines_end(plan, tmp_path):
    file = tmp_path / "plan.json"
    text = file.read_bytes()
    file.write_bytes(text.replace(b"\n", b"\r\n"))
    assert recorded_plan(tmp_path) == plan
    file.write_bytes(text.replace(b'"threads": 2', b'"threads": 1'))
    with pytest.raises(ResultsError, match=r"plan.json: .*its checksum is not that of its content.*'--reuse"):
        read_plan(tmp_path)


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.parent.name)
def test_published_plans_are_read(file):
    assert recorded_plan(file.parent).shown


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("suite", 3),
        ("suite", "\ud800"),
        ("units", {}),
        ("units", [3]),
        ("units", [{"kind": "fit"}]),
        ("threads", 0),
        ("threads", "2"),
        ("threads", True),
        ("plugins", "x"),
        ("plugins", ["../x.py"]),
        ("plugins", ["/x.py"]),
        ("plugins", ["x\0.py"]),
        ("code", []),
        ("code", {"a": None}),
        ("values", 5),
        ("board", [1]),
        ("board/baseline", []),
        ("board/entrants", "e"),
        ("board/datasets", [{"dataset": "d"}]),
        ("board/datasets/0/slope", "steep"),
        ("board/datasets/0/width", -1),
        ("board/metrics", None),
        ("board/needs", {"psnr": "all"}),
        ("units/0/kind", "train"),
        ("units/0/key", "../../x"),
        ("units/0/key", "a/b"),
        ("units/0/key", ""),
        ("units/0/entrant", None),
        ("units/0/seed", -1),
        ("units/0/seed", 10**30),
        ("units/0/seed", 1.5),
        ("units/0/split", "tests"),
        ("units/0/split", ["test"]),
        ("units/0/metric", None),
        ("units/0/requires", "/x"),
        ("units/0/payload", None),
        ("units/0/payload", {"images": 10}),
        ("units/0/payload", {"images": "x"}),
        ("units/0/document", [1]),
        ("units/0/document", {"training": 0}),
        ("board/refused", [["d", "e"]]),
        ("board/refused", ["abc"]),
        ("board/ratios", [{"metric": "m"}]),
        ("board/citations", [{"title": "T"}]),
        ("board/citations", [3]),
        ("secret_noise", {"seed": 3, "references": []}),
        ("secret_noise", {"seed": 3, "references": [], "drawn": "now", "fits": {"k": "x"}}),
        ("units/0/work", "much"),
        ("units/0/work", 10**400),
    ],
)
def test_what_is_no_plan_is_refused(plan, tmp_path, place, value):
    *path, last = place.split("/")
    found = holder = content(tmp_path)
    for name in path:
        holder = holder[int(name) if isinstance(holder, list) else name]
    holder[last] = value
    (tmp_path / "plan.json").write_text(json.dumps(found))
    with pytest.raises(ResultsError, match=r"plan\.json: (not the plan of a gahbench suite|cannot be read) \("):
        read_plan(tmp_path)


PLUGIN = {"name": "e", "parameters": {}, "identity": "0", "origins": [], "label": "e"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("entrant", None),
        ("entrant", []),
        ("entrant", {}),
        ("entrant", {**PLUGIN, "parameters": 3}),
        ("entrant", {**PLUGIN, "identity": None}),
        ("dataset", {**PLUGIN, "origins": "x"}),
        ("metric", {**PLUGIN, "label": 3}),
        ("training", [1]),
        ("seed", -1),
        ("images", None),
        ("images", 2.5),
        ("sigmas", None),
        ("sigmas", ["x"]),
        ("noise_seed", "x"),
        ("learned_from", 3),
        ("sampling", None),
        ("jacobian_precision", 1),
    ],
)
def test_what_a_unit_of_a_resealed_plan_cannot_be_done_from_is_refused(plan, tmp_path, name, value):
    (recorded,) = plan.units
    payload = {"dataset": PLUGIN, "entrant": PLUGIN, "metric": PLUGIN, "images": 3, "sigmas": [0.1]}
    for own, is_accepted in ((payload, True), ({**payload, name: value}, False)):
        write_plan(tmp_path, replace(plan, units=(replace(recorded, unit=replace(recorded.unit, payload=own)),)))
        if is_accepted:
            assert recorded_plan(tmp_path).units[0].unit.payload == own
        else:
            with pytest.raises(ResultsError, match=rf"plan\.json: .*the field '{name}' in the payload of a unit"):
                recorded_plan(tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"suite": "s", "suite": 1}'])
def test_other_texts_are_refused(tmp_path, text):
    (tmp_path / "plan.json").write_bytes(text)
    with pytest.raises(ResultsError, match=r"plan\.json: "):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda file: file.symlink_to(file)], ids=["FIFO", "folder", "loop"]
)
def test_nobody_waits_for_what_is_no_file(tmp_path, make):
    make(tmp_path / "plan.json")
    with pytest.raises(ResultsError, match=r"plan\.json: cannot be read"):
        read_plan(tmp_path)
