"""The report of ``gpu.py``."""

import json

from gpu_page import Part, markdown, page


def part(section, name, folder, *tables, status=0, output=()):
    file = folder / f"{section}-{name.replace('/', '-')}.jsonl"
    file.write_text("".join(json.dumps({"notes": notes, "lines": lines}) + "\n" for notes, lines in tables), "utf-8")
    return Part(section, name, [], file, 7.0, status, list(output))


def machine(folder):
    return part("machine", "versions", folder, ([], [["device", "Card 9"], ["torch", "3.0"]]))


def test_cells_below_an_empty_heading_are_joined_and_empty_columns_removed():
    lines = [["trainer", "rate", "", "seconds"], ["ours", "3.5", "(3 to 4)", ""], ["theirs", "2", "", ""]]
    assert markdown(lines).splitlines() == [
        "| trainer | rate |",
        "| --- | ---: |",
        "| ours | 3.5 (3 to 4) |",
        "| theirs | 2 |",
    ]


def test_parts_of_a_section_share_a_table_and_its_notes(tmp_path):
    parts = [
        part("training", f"{width} channels", tmp_path, (["Medians."], [["channels", "rate"], [str(width), "5"]]))
        for width in (16, 32)
    ]
    written = page([machine(tmp_path), *parts], "cuda", [])
    assert written.startswith("## Card 9\n\nAll 3 parts succeeded.")
    assert "| channels | rate |\n| ---: | ---: |\n| 16 | 5 |\n| 32 | 5 |\n\nMedians.\n\n### Commands" in written
    assert "Limitations" not in written


def test_a_failed_part_is_reported_in_place_of_its_rows(tmp_path):
    failed = part("training", "32 channels", tmp_path, status=1, output=["Traceback:", "OutOfMemoryError: 2 `GiB`", ""])
    passed = part("training", "16 channels", tmp_path, ([], [["channels"], ["16"]]))
    left = part("quick", "from start to board", tmp_path, status=None)
    written = page([machine(tmp_path), passed, failed, left], "cuda", [])
    assert "**Of 4 parts, 1 failed and 1 did not finish.**" in written
    assert "| 16 |\n\n**failed**: `OutOfMemoryError: 2 GiB` (32 channels)\n\n###" in written
    assert "| Training: 32 channels | 7 | **failed**: `OutOfMemoryError: 2 GiB` |" in written
    assert written.endswith("| The suite `quick`: from start to board | 7 | not finished |")


def test_skipped_and_failed_tests_are_listed_without_local_paths(tmp_path):
    output = ["SKIPPED [3] ../../home/me/tests/gpu/test_a.py:3: no compiler", "== 2 passed, 3 skipped in 4.00s =="]
    written = page([machine(tmp_path), part("tests", "tests/gpu", tmp_path, output=output)], "cpu", ["A trial."])
    assert "`tests/gpu`: 2 passed, 3 skipped in 4.00s.\n\n- SKIPPED [3] tests/gpu/test_a.py:3: no compiler" in written
    assert "All 2 parts succeeded. A trial." in written
    assert "### Limitations of this device\n\n- speed" in written


def test_several_workers_are_compared_with_one_worker(tmp_path):
    single, double, triple = (part("workers", name, tmp_path, status=name == "3") for name in "123")
    double.seconds = 3.5
    written = page([machine(tmp_path), single, double, triple], "cuda", [])
    assert "| 1 | 7.0 | 1.00 |\n| 2 | 3.5 | 2.00 |\n| 3 | failed |  |" in written
