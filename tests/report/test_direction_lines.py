"""Lines about directions above the tables of a dataset, and tables of directions."""

import math

import numpy as np
from fake_results import dataset, results, rows

from gahbench.board.display_names import DisplayNames
from gahbench.board.leaderboard import make_board
from gahbench.report.direction_lines import direction_lines
from gahbench.report.tables import _dataset_tables

SIGMAS, BASIS = (0.1, 0.3), "direction[wavelet-ti[haar]]"


def board():
    """Return a board: a basis lacks direction at the higher level, a network has too few images at the lower level."""
    values = {
        ("optimal", "truth-direction"): (1.0, 1.0),
        ("net", "truth-direction"): (0.5, 0.4),
        ("optimal", BASIS): (0.2, math.nan),
        ("net", BASIS): (math.nan, math.nan),
        ("blur", BASIS): (0.0, 0.0),
    }
    scores = []
    for entrant, kind in (("optimal", "optimal"), ("net", "trained"), ("blur", "classical")):
        scores += rows("d", entrant, kind, np.full((2, 28), 30.0 if kind == "optimal" else 25.0), sigmas=SIGMAS)
        for metric in ("truth-direction", BASIS):
            levels = values.get((entrant, metric))
            for sigma, value in zip(SIGMAS, levels or (), strict=levels is not None):
                parts = {"": value, ".left-out": 0.0, ".basis-share": 0.01 if sigma == 0.3 else 0.3, ".ceiling": 0.25}
                if metric == "truth-direction":
                    parts = {"": value, ".left-out": 0.0, ".truth-share": 0.3}
                if entrant == "net" and metric == BASIS and sigma == 0.1:
                    parts = {".left-out": 0.5}
                for part, number in parts.items():
                    if not math.isnan(number):
                        column = np.full((1, 28), number)
                        scores += rows("d", entrant, kind, column, sigmas=(sigma,), metric=f"{metric}{part}")
    return make_board(results(scores, datasets=[dataset("d")]), {}, {}, {}).for_dataset("d")


def test_lines_have_the_best_denoiser_and_reasons_for_missing_values():
    best, few_images, no_direction = direction_lines(board(), DisplayNames({"optimal": "Optimal denoiser"}))
    assert best == "Directions of Optimal denoiser: truth-direction 1.00 ±0.00. Nothing is ranked by direction."
    assert few_images.startswith(f"No {BASIS} at σ = 0.1 for `net`: for one seed or more, fewer than 24 images can")
    assert no_direction == (
        f"No {BASIS} at σ = 0.3 for Optimal denoiser, `net`: the filters that are compared have no direction there "
        "(basis-share 0.010, below 0.02)."
    )


def test_a_share_above_the_limit_is_no_reason_for_a_missing_value():
    scores = rows("d", "net", "trained", np.full((1, 28), 25.0), sigmas=SIGMAS[:1])
    for part, number in ((".left-out", 0.0), (".basis-share", 0.3)):
        scores += rows("d", "net", "trained", np.full((1, 28), number), sigmas=SIGMAS[:1], metric=f"{BASIS}{part}")
    board = make_board(results(scores, datasets=[dataset("d")]), {}, {}, {}).for_dataset("d")
    (line,) = direction_lines(board, DisplayNames())
    assert "for one seed or more" in line
    assert "below 0.02" not in line


def test_tables_of_directions_begin_with_the_best_denoiser_and_have_each_level_where_means_are_missing():
    tables = {table.title: table for table in _dataset_tables(board(), DisplayNames())}
    titles = list(tables)
    assert titles[2:4] == ["Directions at σ = 0.1", "Directions at σ = 0.3"]
    lower = [dict(zip([column.head for column in tables[titles[2]].columns], row, strict=True))
             for row in tables[titles[2]].rows]  # fmt: skip
    assert [row["entrant"] for row in lower] == ["optimal", "net", "blur"]
    assert [row["truth-direction"].split()[0] for row in lower] == ["1.000", "0.500", "–"]
    assert [row["wavelet-ti[haar]"].split()[0] for row in lower] == ["0.200", "–", "0.000"]
    assert [row["ceiling"].split()[0] for row in lower] == ["0.500", "–", "0.500"]
    first = next(title for title in titles if "means over noise levels" in title and "PSNR" not in title)
    assert first.startswith("truth-direction")
    # The mean of the basis is unknown for the optimum, and 0 for the blur, by definition at both levels.
    (means,) = (table for title, table in tables.items() if title.startswith(f"{BASIS}, means"))
    assert {row[0]: row[1].split()[0] for row in means.rows}["blur"] == "0.000"
