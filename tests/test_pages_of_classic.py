"""Numbers and sentences on the pages of published networks on photographs agree with their boards."""

import dataclasses
import functools
import importlib

import numpy as np
import pytest
from published_pages import ROOT, all_rows, load_results, mean_and_half_width, page

from gahbench.report.cells import format_interval

#: The datasets of the boards of published networks on photographs, as they are on the pages.
CLASSIC = pytest.mark.parametrize(
    ("name", "datasets"), [("classic", ("BSD68", "Set12")), ("classic-colour", ("CBSD68",))]
)


@CLASSIC
def test_distances_from_the_oracle_on_the_page_agree_with_the_board(name, datasets):
    results = load_results(name)
    columns = [(results.board.for_dataset(dataset), level / 255) for dataset in datasets for level in (15, 25, 50)]
    rows = all_rows(name)
    assert {entrant for entrant, *_ in rows} | {"oracle-shrink[bandlet[sym5]]"} == set(results.entrants)
    for entrant, *cells in rows:
        distances = [family.estimate(entrant, "gain_over_baseline", sigma=sigma) for family, sigma in columns]
        assert cells == [format_interval(distance, sign=True) for distance in distances]


@functools.cache
def board_over(name, baseline):
    """Return a board of PSNR whose gains are over an entrant."""
    results = load_results(name)
    return dataclasses.replace(results, scores=results.scores.query("metric == 'psnr'"), baseline=baseline).board


def paired_gains(name, dataset, entrant, baseline):
    """Return the gain of an entrant over another at each noise level, as text, and whether all are shown."""
    family = board_over(name, baseline).for_dataset(dataset)
    gains = [family.estimate(entrant, "gain_over_baseline", sigma=level / 255) for level in (15, 25, 50)]
    return [format_interval(gain) for gain in gains], all(gain.low > 0 for gain in gains)


def test_paired_differences_on_the_pages_of_published_networks_are_those_of_the_board():
    text, colour_text = (" ".join(page(name).split()) for name in ("classic", "classic-colour"))
    weakest, is_shown = paired_gains("classic", "BSD68", "BF-RCNN 0-100", "bm3d")
    assert is_shown
    assert f"BF-RCNN, the weakest, is above it by {weakest[0]}, {weakest[1]} and {weakest[2]} dB" in text
    assert paired_gains("classic", "BSD68", "bm3d", "Non-local means")[1]
    assert paired_gains("classic", "BSD68", "Non-local means", "bayes-shrink[sym4]")[1]

    for network in ("CDnCNN-S", "CDnCNN-B", "FFDNet colour", "BF-CNN 2021 colour"):
        assert paired_gains("classic-colour", "CBSD68", network, "oracle-shrink[bandlet[sym5]]")[1]
        gains, is_shown = paired_gains("classic-colour", "CBSD68", network, "bm3d")
        assert is_shown
        if network == "CDnCNN-S":
            assert f"CDnCNN-S is above it by {gains[0]}, {gains[1]} and {gains[2]} dB" in colour_text
    levels, is_shown = paired_gains("classic-colour", "CBSD68", "CDnCNN-S", "CDnCNN-B")
    assert is_shown
    assert f"worth {levels[0]}, {levels[1]} and {levels[2]} dB: CDnCNN-S minus CDnCNN-B" in colour_text
    below = paired_gains("classic-colour", "CBSD68", "CDnCNN-B", "BF-CNN 2021 colour")[0]
    above = paired_gains("classic-colour", "CBSD68", "BF-CNN 2021 colour", "CDnCNN-B")[0]
    assert f"{below[0]} dB below CDnCNN-B at 15, and above it by {above[2]} dB at 50" in colour_text
    equal = paired_gains("classic-colour", "CBSD68", "CDnCNN-S", "BF-CNN 2021 colour")[0]
    assert f"it is above BF-CNN 2021 by {equal[2]} dB" in colour_text
    better = paired_gains("classic-colour", "CBSD68", "FFDNet colour", "CDnCNN-B")[0]
    assert f"FFDNet is above by {better[2]} dB" in colour_text
    practical = paired_gains("classic-colour", "CBSD68", "bandlet[sym5]", "threshold[sym4]")[0]
    assert f"gains {practical[1]} dB at 25 and {practical[2]} dB at 50" in colour_text


def test_gains_from_colour_on_the_page_are_paired_differences_between_the_boards():
    boards = [
        load_results(name).scores.query("metric == 'psnr' and dataset == @dataset")
        for name, dataset in (("classic", "BSD68"), ("classic-colour", "CBSD68"))
    ]
    grey, colour = (board.pivot_table("value", ["sigma", "image"], "entrant") for board in boards)
    oracle = "oracle-shrink[bandlet[sym5]]"
    pairs = {
        "CDnCNN-S": "DnCNN-S",
        "CDnCNN-B": "DnCNN-B",
        "FFDNet colour": "FFDNet",
        "BF-CNN 2021 colour": "BF-CNN 2021",
    }
    # The photographs are the same, in the same order.
    np.testing.assert_allclose(colour[oracle], grey[oracle], atol=0.25)
    assert grey[oracle].groupby("sigma").std().min() > 2
    gains = {name: colour[name] - grey[pairs.get(name, name)] for name in (*pairs, "bm3d", oracle)}
    means = [gain.groupby("sigma").mean() for name, gain in gains.items() if name != oracle]
    assert {f"{min(map(min, means)):.1f}", f"{max(map(max, means)):.1f}"} == {"1.7", "2.3"}
    cells = [mean_and_half_width(level)[0] for _, level in gains[oracle].groupby("sigma")]
    text = " ".join(page("classic-colour").split())
    assert f"gains nothing from colour: {cells[0]}, {cells[1]} and {cells[2]} dB" in text
    assert "for grey on BSD68 by 1.7 to 2.3 dB" in text


def test_ranks_of_published_networks_on_the_page_of_classic_are_those_of_the_board():
    ranks = [
        [(entry.entrant, entry.rank, entry.rank_high) for entry in family.entries if entry.rank]
        for family in load_results("classic").board.datasets
    ]
    followers = ["DnCNN-B", "BF-DnCNN 0-100", "BF-CNN 2021", "BF-UNet 0-100", "BF-RCNN 0-100", "bm3d"]
    decided = [(entrant, place, place) for place, entrant in enumerate(followers, 3)]
    assert ranks[0][:8] == [("DnCNN-S", 1, 2), ("FFDNet", 1, 2), *decided]
    assert ranks[1][:3] == [("FFDNet", 1, 3), ("DnCNN-S", 1, 3), ("DnCNN-B", 1, 3)]


@CLASSIC
def test_measured_and_published_psnr_on_the_page_are_those_of_the_script(monkeypatch, name, datasets):
    monkeypatch.syspath_prepend(ROOT / "tests" / "bench")
    published_psnr = importlib.import_module("published_psnr")
    lines = list(published_psnr.table(load_results(name)))
    assert {line.split(" | ")[0].strip("| ") for line in lines[2:]} == set(datasets)
    assert "\n".join(lines) in page(name)
    # The page says why these differ.
    explained = ("| bm3d |", "| DnCNN 0-30 |", "| CDnCNN-S |")
    assert all(any(entrant in line for entrant in explained) for line in lines if " *" in line)
