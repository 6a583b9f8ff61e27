"""By how much a denoiser agrees more with graph harmonics than with every other basis, with paired intervals.

Not a test: run it as ``python tests/bench/basis_margins.py FOLDER`` on a results folder with the metrics ``direction``
and ``alignment``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import smoke

import gahbench
from gahbench.board.alignments import margin, rankings

FIRST = "graph-laplacian"
RESULTS = Path(__file__).parents[2] / "results"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each dataset and entrant."""
    parser = argparse.ArgumentParser(description="Margins of graph harmonics over other bases.")
    parser.add_argument("folder")
    parser.add_argument("--metric", choices=["direction", "alignment"], default="direction")
    parser.add_argument("--dataset", action="append", help="only this; may be repeated")
    parser.add_argument("--entrant", action="append", help="only this; may be repeated")
    parser.add_argument("--basis", action="append", help="only against this; may be repeated")
    options = smoke.parse(
        parser, f"{RESULTS}/basis --dataset discs[size=24] --entrant gaussian-blur --basis haar", arguments
    )
    results = gahbench.load_results(options.folder)
    sigmas = sorted(results.scores["sigma"].dropna().unique().tolist())
    for (dataset, entrant), bases in rankings(results, options.dataset, options.entrant).items():
        title = f"{options.metric} with {FIRST} less that with others, in the mean and at each sigma"
        print(f"\n{dataset}, {entrant}: {title}\n")
        print("| basis | mean |", " | ".join(f"{sigma:.3g}" for sigma in sigmas), "|")
        print("| --- |", " | ".join(["---:"] * (1 + len(sigmas))), "|")
        for basis in bases:
            if basis == FIRST or basis not in (options.basis or bases):
                continue
            found = [
                margin(results, dataset, entrant, FIRST, basis, sigma, options.metric) for sigma in (None, *sigmas)
            ]
            cells = ["–" if one is None else f"{one[0]:+.2f} [{one[1]:+.2f}, {one[2]:+.2f}]" for one in found]
            print(f"| {basis} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
