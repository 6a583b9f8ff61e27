"""Margins by which the direction of denoisers is closer to graph harmonics than to other bases, with paired intervals.

Run ``python tests/bench/basis_margins.py FOLDER`` on a results folder with the metric ``direction``.
"""

import sys
from pathlib import Path

import harness

import gahbench
from gahbench.board.metric_names import parse_agreement

sys.path.append(str(Path(__file__).parents[1]))
from published_pages import margin

FIRST = "graph-laplacian"
RESULTS = Path(__file__).parents[2] / "results"


def main():
    small = f"{RESULTS}/basis --dataset discs[size=24] --entrant gaussian-blur --basis haar"
    options = harness.options(__doc__, small, "folder", folder=Path, dataset=[], entrant=[], basis=[])
    results = gahbench.load_results(options.folder)
    sigmas = sorted(results.scores["sigma"].dropna().unique().tolist())
    frame = results.select(options.entrant, options.dataset).board.frame.dropna(subset=["value"])
    names = {name: parse_agreement(name) for name in frame["quantity"].unique()}
    frame = frame.assign(basis=frame["quantity"].map({name: each[1] for name, each in names.items() if each}))
    for (dataset, entrant), rows in frame.dropna(subset=["basis"]).groupby(["dataset", "entrant"], sort=False):
        bases = sorted(set(rows["basis"]))
        title = f"direction with {FIRST} minus direction with other bases, in the mean and at each sigma"
        print(f"\n{dataset}, {entrant}: {title}\n")
        print("| basis | mean |", " | ".join(f"{sigma:.3g}" for sigma in sigmas), "|")
        print("| --- |", " | ".join(["---:"] * (1 + len(sigmas))), "|")
        for basis in bases:
            if basis == FIRST or basis not in (options.basis or bases):
                continue
            margins = [margin(results, dataset, entrant, FIRST, basis, sigma) for sigma in (None, *sigmas)]
            cells = [
                "–" if value is None else f"{value[0]:+.2f} [{value[1]:+.2f}, {value[2]:+.2f}]" for value in margins
            ]
            print(f"| {basis} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
