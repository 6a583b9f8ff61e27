"""Margins by which denoisers agree better with graph harmonics than with other bases, with paired intervals.

Run ``python tests/bench/basis_margins.py FOLDER`` on a results folder with the metrics ``direction`` and ``alignment``.
"""

from pathlib import Path

import harness

import gahbench
from gahbench.board.alignments import margin, mean_agreements

FIRST = "graph-laplacian"
RESULTS = Path(__file__).parents[2] / "results"


def main():
    small = f"{RESULTS}/basis --dataset discs[size=24] --entrant gaussian-blur --basis haar"
    options = harness.options(
        __doc__, small, "folder", folder=Path, metric=("direction", "alignment"), dataset=[], entrant=[], basis=[]
    )
    metric = options.metric or "direction"
    results = gahbench.load_results(options.folder)
    sigmas = sorted(results.scores["sigma"].dropna().unique().tolist())
    for (dataset, entrant), bases in mean_agreements(results, options.dataset or None, options.entrant or None).items():
        title = f"{metric} with {FIRST} minus {metric} with other bases, in the mean and at each sigma"
        print(f"\n{dataset}, {entrant}: {title}\n")
        print("| basis | mean |", " | ".join(f"{sigma:.3g}" for sigma in sigmas), "|")
        print("| --- |", " | ".join(["---:"] * (1 + len(sigmas))), "|")
        for basis in bases:
            if basis == FIRST or basis not in (options.basis or bases):
                continue
            margins = [margin(results, dataset, entrant, FIRST, basis, sigma, metric) for sigma in (None, *sigmas)]
            cells = [
                "–" if value is None else f"{value[0]:+.2f} [{value[1]:+.2f}, {value[2]:+.2f}]" for value in margins
            ]
            print(f"| {basis} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
