"""``gahbench preview``: the printed card of a dataset, and the files that it writes."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_families import HARD_AT_LOW_NOISE
from rich.console import Console

from gahbench.cli.looking import print_card
from gahbench.explore.preview import contact_sheet
from gahbench.report.contact_sheet import encode_sheet


def card(preview, width=200):
    stream = io.StringIO()
    print_card(preview, Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


def facts(preview):
    """Return the facts of the card by name, and the cells of its table by noise level."""
    lines = card(preview).splitlines()
    return {line[:13].strip(): line[13:].strip() for line in lines}, {
        line.split()[0]: line.split()[1:] for line in lines[::-1] if line.strip()
    }


def test_the_card_shows_the_facts_of_a_dataset(families):
    preview = families.preview("white[spread=0.2]", [0.1, 0.2], split="train")
    facts_by_name, table = facts(preview)
    assert card(preview).splitlines()[0] == f"dataset white[spread=0.2]  ({families.file})"
    assert facts_by_name["parameters"] == "spread=0.2, height=10, width=8, depth=1"
    assert facts_by_name["shape"].startswith("1 × 10 × 8 ")
    assert facts_by_name["images"] == "endless in every split"
    assert facts_by_name["origin"] == facts_by_name["licence"] == "not stated"
    assert facts_by_name["optimum"].startswith("exact: ")
    assert "0.00 dB per dB" in facts_by_name["optimum"]
    assert facts_by_name["true basis"].startswith("known: 80 vectors")
    assert "over 256 images of train" in facts_by_name["pixels"]
    # 1 / (1 / 0.04 + 1 / 0.01) and 1 / (1 / 0.04 + 1 / 0.04), in dB.
    assert table["0.1"][:2] == ["20.0", "21.0"]
    assert table["0.2"][:2] == ["14.0", "17.0"]
    for sigma, level in zip(("0.1", "0.2"), preview.levels, strict=True):
        assert float(table[sigma][2]) == pytest.approx(-10 * np.log10(level.best.measured), abs=0.051)


def test_the_card_of_files_shows_their_origin_and_licence(families):
    facts_by_name, table = facts(families.preview("files", [0.1]))
    assert "parameters" not in facts_by_name
    assert facts_by_name["origin"] == "[bold]Nowhere[/bold]"
    assert facts_by_name["licence"] == "CC0 [1]"
    assert facts_by_name["images"] == "train 6, validation 0, test 3, A 3, B 3"
    assert facts_by_name["fingerprint"] == "c0ffee" + "0" * 58
    assert facts_by_name["pixels"].startswith(
        "mean 1.000, standard deviation 1.000, 50 % outside [0, 1], over 3 images"
    )
    assert facts_by_name["optimum"].startswith("none: the best denoiser is unknown")
    assert "dB per dB" not in facts_by_name["optimum"]
    assert facts_by_name["true basis"] == "not known"
    assert table["0.1"] == ["20.0"]
    shared = facts(families.preview("mine", body="splits_overlap = True"))[0]
    assert shared["images"] == "endless in every split; splits share images"


def test_the_card_of_a_bracket_shows_the_bound(families):
    text = card(families.preview("genied[spread=0.2]", [0.2]))
    assert "at most" in text
    assert "no denoiser beats a genie" in text
    assert facts(families.preview("genied[spread=0.2]", [0.2]))[1]["0.2"][:2] == ["14.0", "17.0"]
    assert facts(families.preview("noiseless-genie", [0.2]))[1]["0.2"] == ["14.0", ">", "140", ">", "140"]


def test_the_card_shows_effective_samples_and_failures_of_the_optimum(families):
    preview = families.preview("mine", [0.05, 0.2], body=HARD_AT_LOW_NOISE)
    text = card(preview)
    assert "σ = 0.05: the optimum cannot be computed: too few effective samples" in text
    (row,) = [line for line in text.splitlines() if line.strip().startswith("0.05")]
    assert row.split() == ["0.05", "26.0", "–", "–", "–"]
    assert facts(preview)[1]["0.2"][-2:] == ["25", "%"]


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, "none outside"), (1e-7, "less than 0.001 % outside"), (0.0305, "3.05 % outside"), (1.0, "100 % outside")],
)
def test_a_tiny_share_outside_is_not_shown_as_zero(families, share, expected):
    preview = families.preview("files")
    assert expected in card(replace(preview, pixels=replace(preview.pixels, outside=share)))


@pytest.fixture
def call(command):
    return command("preview")


def test_the_command_prints_a_card_and_writes_a_sheet(call, families):
    arguments = ("-p", families.file, "--sigma", "0.1,0.3", "-s", "0.2", "--split", "A", "--start", 2, "--count", 2)
    status, printed, _ = call("white[spread=0.2]", *arguments)
    assert status == 0
    assert "dataset white[spread=0.2]" in printed
    assert printed.endswith("wrote preview-white_spread=0.2.png\n")
    assert [file.name for file in Path().iterdir()] == ["preview-white_spread=0.2.png"]
    preview = families.preview("white[spread=0.2]", [0.1, 0.3, 0.2], split="A", start=2, count=2)
    assert Path("preview-white_spread=0.2.png").read_bytes() == encode_sheet(contact_sheet(preview), ".png")


def test_the_command_writes_a_sheet_of_the_true_basis(call, families):
    status, printed, _ = call("white", "-p", families.file, "-o", "out/sheet.svg", "--true-basis")
    assert status == 0
    assert sorted(file.name for file in Path("out").iterdir()) == ["sheet-true-basis.svg", "sheet.svg"]
    assert "wrote out/sheet-true-basis.svg" in printed
