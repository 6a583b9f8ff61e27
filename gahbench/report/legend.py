"""How to read the tables of a board: in three lines, and a line for each column."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gahbench.board.rate_courses import METRIC
from gahbench.board.statistics import MIN_SOURCES
from gahbench.planning.units import CHECKS_VERSION
from gahbench.report.cells import DASH
from gahbench.report.rate_lines import RATE_LEGEND

if TYPE_CHECKING:
    from gahbench.board.board import Board
    from gahbench.board.results import Results


def short_legend(results: Results) -> str:
    """Return how to read the tables in three lines, which name the commands that say more."""
    board = results.board
    gain = "" if results.baseline is None else f" Gain: over {results.baseline}."
    weights = ", of these weights" if _seeds(board) == {1} else ""
    flags = "!: flagged, as noted. " if any(entry.marks for entry in board.entries) else ""
    return (
        f"PSNR: mean in dB ± half its 95 % interval.{gain}\n"
        f"Ranks are 95 % simultaneous intervals from paired differences{weights}.\n"
        f"{flags}More: `gahbench leaderboard DIR --legend`; references: `gahbench cite DIR`."
    )


def checks_line(results: Results) -> str:
    """Return a line on rows that were checked by weaker rules than those of today; empty if there are none."""
    versions = results.checks["version"]
    count = int((versions < CHECKS_VERSION).sum())
    if not count:
        return ""
    return (
        f"{count} of {len(versions)} rows were checked by earlier rules (version {versions.min()}; today "
        f"{CHECKS_VERSION}): `gahbench run` checks them again."
    )


def legend(results: Results) -> list[str]:
    """Return what every column of the tables means, a line for each."""
    board, baseline = results.board, results.baseline
    lines = [
        "PSNR: −10·log10 of the mean squared error of an image in [0, 1], in dB; the mean over test images, training "
        "seeds and, unless a level is named, noise levels. σ is the standard deviation of the noise, so that noisy "
        "images have −20·log10 σ dB.",
        "±: half the width of the 95 % interval over images and training seeds. Values without it have no interval: "
        f"with fewer than {MIN_SOURCES} independent images, or sources of images such as photographs, it would mean "
        "nothing.",
        f"Seeds: {_on_seeds(board)}",
        "Rank: by mean PSNR, 1 + the number of entrants that are better; 2–4 is the interval of a rank. Ranks are 95 % "
        "simultaneous intervals from paired differences. Oracles see the clean image and optimal denoisers know the "
        f"distribution, so that they have no rank ({DASH}); nor has an entrant without an interval.",
    ]
    if any(entry.marks for entry in board.entries):
        lines.append("!: the entrant is flagged; the note with the reason is below its table.")
    if baseline is not None:
        lines.append(f"Gain: the difference in PSNR from {baseline}, paired by image and noise.")
    if board.is_known("slope"):
        lines.append(
            "Slope: output dB per input dB, fitted over all σ of the table. The optimal slope, α/(α+1) for C^α images, "
            "is a limit for σ → 0, which slopes over stronger noise do not test."
        )
    if board.is_known("deficit"):
        lines += [
            "Deficit: decibels between the mean squared error and the optimal one. Where only a bound is known, two "
            "limits: from the best denoiser of the board, and from the bound.",
            "KL: a bound on the Kullback-Leibler divergence of the density that a denoiser models from the true one, "
            "in nats per pixel and channel, integrated over the noise levels of the suite. Against a bound its upper "
            "limit is a looser upper bound, and its lower limit bounds nothing.",
        ]
    return [*lines, RATE_LEGEND] if board.is_known(METRIC) else lines


def _seeds(board: Board) -> set[int]:
    """Return how many seeds count, of the rows that are trained and scored."""
    return {entry.seeds for entry in board.entries if entry.seeds}


def _on_seeds(board: Board) -> str:
    """Return what the intervals cover, by the number of training seeds."""
    if all(entry.seeds is None for entry in board.entries):
        return "this suite trains no network."
    seeds = _seeds(board)
    if not seeds:
        return "no trained network is scored yet."
    if seeds == {1}:
        return "each network was trained once; intervals are of these weights, and say nothing about another training."
    return (
        "how far trainings differ is estimated from all entrants; an entrant whose own trainings differ more has its "
        "own estimate."
    )
