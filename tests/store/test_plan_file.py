"""Tests of ``plan.json``: plans are read back unchanged, and invalid files are refused by an error naming the file."""

from pathlib import Path

import pytest
from finished_units import EMPTY_BOARD

from gahbench._util.errors import ResultsError
from gahbench._util.sealed import parse_sealed, write_sealed
from gahbench.contracts.unit import Unit
from gahbench.store.plan_file import RecordedPlan, read_plan, require_plan, write_plan

ROW = {"dataset": "d", "optimum": "none", "slope": None, "channels": 1, "height": 8, "width": 8}
BOARD = EMPTY_BOARD | {
    "baseline": "e",
    "entrants": ["e"],
    "datasets": [ROW | dict.fromkeys(("fingerprint", "sources", "protocol", "notes", "spec"), "")],
    "metrics": [{"metric": "psnr", "title": "PSNR", "null": ""}],
    "needs": {"psnr": []},
}
PLUGIN = {"name": "e", "parameters": {}, "identity": "0", "origins": [], "label": "e"}
PAYLOAD = {"dataset": PLUGIN, "entrant": PLUGIN, "metric": PLUGIN, "images": 3, "sigmas": [0.1]}
PUBLISHED = sorted((Path(__file__).parents[2] / "results").glob("*/plan.json"))


@pytest.fixture
def plan(tmp_path):
    key = ("reference", None, "test", "psnr", None, 2.5)
    plan = RecordedPlan(
        *("s", (Unit("score", "k", "d", "e", *key, PAYLOAD, document={"a": 1}),), BOARD, 2),
        plugins=("plugins/x/y.py",),
        suite_text="name: s  # of one unit\n",
        changes=("--set training.steps=2",),
    )
    write_plan(tmp_path, plan)
    return plan


def test_a_plan_is_read_back_unchanged(plan, tmp_path):
    assert require_plan(tmp_path) == plan
    before = (tmp_path / "plan.json").stat().st_mtime_ns
    write_plan(tmp_path, plan)
    assert (tmp_path / "plan.json").stat().st_mtime_ns == before


def test_units_that_an_earlier_version_did_not_show_are_left_out(plan, tmp_path):
    file = tmp_path / "plan.json"
    content = parse_sealed(file.read_bytes())
    content["units"] = [content["units"][0] | {"added": False, "shown": shown} for shown in (True, False)]
    write_sealed(file, content)
    assert require_plan(tmp_path) == plan


def test_a_changed_plan_is_refused_unless_only_line_endings_changed(plan, tmp_path):
    file = tmp_path / "plan.json"
    text = file.read_bytes()
    file.write_bytes(text.replace(b"\n", b"\r\n"))
    assert require_plan(tmp_path) == plan
    file.write_bytes(text.replace(b'"threads": 2', b'"threads": 1'))
    with pytest.raises(ResultsError, match=r"plan.json: .*its checksum does not match its content.*'--reuse"):
        read_plan(tmp_path)


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.parent.name)
def test_published_plans_can_be_read(file):
    assert require_plan(file.parent).units


@pytest.mark.parametrize(
    ("path_of_field", "value"),
    [
        *(("units", value) for value in ({}, [3], [{"kind": "fit"}])),
        *(("threads", value) for value in (0, "2", True)),
        *(("plugins", value) for value in ("x", ["../x.py"], ["/x.py"], ["x\0.py"])),
        ("values", 5),
        ("board", {}),
        ("board/datasets", [{"dataset": "d"}]),
        ("board/datasets/0/width", -1),
        ("board/needs", {"psnr": "all"}),
        *(("board/refused", value) for value in ([["d", "e"]], ["abc"])),
        ("board/ratios", [{"metric": "m"}]),
        ("board/citations", [{"title": "T"}]),
        *(("units/0/key", value) for value in ("../../x", "a/b", "")),
        *(("units/0/seed", value) for value in (-1, 10**30, 1.5)),
        ("units/0/split", "tests"),
        ("units/0/metric", None),
        ("units/0/requires", "/x"),
        *(("units/0/payload", value) for value in (None, {"images": "x"})),
        ("units/0/document/training", 0),
        ("units/0/work", 10**400),
        *(("units/0/payload/entrant", value) for value in (None, {}, {**PLUGIN, "parameters": 3})),
        ("units/0/payload/dataset", {**PLUGIN, "origins": "x"}),
        ("units/0/payload/training", [1]),
        ("units/0/payload/sigmas", ["x"]),
        ("units/0/payload/learned_from", 3),
    ],
)
def test_a_plan_with_an_invalid_field_is_refused(plan, tmp_path, path_of_field, value):
    file = tmp_path / "plan.json"
    *path, last = path_of_field.split("/")
    content = parent = parse_sealed(file.read_bytes())
    for name in path:
        parent = parent[int(name) if isinstance(parent, list) else name]
    if path[-1:] in (["payload"], ["document"]):
        # These fields hold indices into the list of shared values.
        content["values"].append(value)
        value = len(content["values"]) - 1
    parent[last] = value
    write_sealed(file, content)
    field = path_of_field.replace("/", r"\.")
    expected = (
        rf"the field '{field}[^']*' of a plan is missing"
        if "payload/" in path_of_field or "board/" in path_of_field
        else ""
    )
    with pytest.raises(ResultsError, match=rf"plan\.json: not the plan of a gahbench suite \({expected}"):
        read_plan(tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"suite": "s", "suite": 1}'])
def test_a_file_that_is_not_a_sealed_json_object_is_refused(tmp_path, text):
    (tmp_path / "plan.json").write_bytes(text)
    with pytest.raises(ResultsError, match=r"plan\.json: "):
        read_plan(tmp_path)
