"""How much GAH alignment depends on the graph: that of the best filter, where it is known, with graphs of all kinds.

Not a test: run it as ``python tests/bench/laplacian_construction.py``; it takes some minutes on two cores. On C^alpha
images the best filter given the contour is known, so that no network is needed: the graph whose Tikhonov filter is
most like it is the better model of a geometry-adaptive harmonic basis.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence

import smoke
import torch

import gahbench
from gahbench._util.resources import cpu_count
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.truth import Truth
from gahbench.evaluation import adaptation, align, remove_strength

FAMILIES = (
    "c-alpha[alpha=1,size=24]",
    "c-alpha[alpha=2,size=24]",
    "c-alpha[alpha=2,size=24,contour=closed]",
    "c-alpha[alpha=2,size=32]",
)
SIGMAS = (0.03, 0.1, 0.3)


def constructions() -> Iterator[str]:
    """Yield the graphs that are compared."""
    for radius, hs, hr in itertools.product((1.0, 2.0, 3.0), (1.0, 2.0), (0.03, 0.05, 0.1, 0.2)):
        # With a radius of 1 the scale of distances multiplies all weights alike.
        if radius > 1 or hs == 1:
            yield f"graph-laplacian[radius={radius},hs={hs},hr={hr}]"
    yield "patch-graph"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print, best first."""
    parser = argparse.ArgumentParser(description="Direction of the best filter, with graphs.")
    parser.add_argument("--families", nargs="+", default=FAMILIES)
    parser.add_argument("--sigmas", type=float, nargs="+", default=SIGMAS)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--threads", type=int, default=cpu_count(), help="threads of torch")
    options = smoke.parse(parser, "--families c-alpha[alpha=2,size=8] --sigmas 0.1 --images 8 --threads 1", arguments)
    torch.set_num_threads(options.threads)
    found: dict[str, list[float]] = {}
    for family in options.families:
        dataset: Dataset = gahbench.create("dataset", family)
        truth = Truth(dataset.images("test", options.images), dataset)
        best = {sigma: dataset.optimal_filters(truth.clean, sigma, "test") for sigma in options.sigmas}
        for described in constructions():
            basis: Basis = gahbench.create("basis", described)
            for maps in best.values():
                assert maps is not None
                traces = maps.trace().value
                family = basis.filters(truth, 0.0)
                remove = remove_strength(traces, family.reaches(traces))
                both = (adaptation(one.sketch(), remove) for one in (maps, family.at(traces)))
                ours, graph = (one.directional(dataset.shape) for one in both)
                found.setdefault(described, []).append(float(align(ours, graph).own.mean()))
    columns = [f"{family}, {sigma:g}" for family in options.families for sigma in options.sigmas]
    print("| graph | mean | least |", " | ".join(columns), "|")
    print("| --- | ---: | ---: |" + " ---: |" * len(columns))
    for described, values in sorted(found.items(), key=lambda item: -sum(item[1])):
        cells = [f"{value:.2f}" for value in (sum(values) / len(values), min(values), *values)]
        print(f"| `{described}` |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
