"""The dependence of direction on the graph: direction of the optimal filter with graphs of all kinds.

Run ``python tests/bench/laplacian_construction.py``, which takes some minutes on two cores. On C^alpha images the
optimal filter given the contour is known, so no network is needed. The graph whose Tikhonov filter agrees best with the
optimal filter is the best model of a geometry-adaptive harmonic basis.
"""

import itertools
import statistics

import harness

import gahbench
from gahbench.evaluation import Evaluation

FAMILIES = [
    "c-alpha[alpha=1,size=24]",
    "c-alpha[alpha=2,size=24]",
    "c-alpha[alpha=2,size=24,contour=closed]",
    "c-alpha[alpha=2,size=32]",
]


def constructions():
    """Yield the graphs to compare."""
    for radius, hs, hr in itertools.product((1.0, 2.0, 3.0), (1.0, 2.0), (0.03, 0.05, 0.1, 0.2)):
        # With a radius of 1, hs multiplies all weights by the same factor.
        if radius > 1 or hs == 1:
            yield f"graph-laplacian[radius={radius},hs={hs},hr={hr}]"


def directions(evaluation):
    """Yield the mean direction of the optimal filters at each noise level with each graph."""
    for graph in constructions():
        scores = gahbench.create("metric", f"direction[{graph}]").score(evaluation)
        rows = list(zip(scores.value, scores.sigma, scores.part, strict=True))
        for sigma in evaluation.sigmas:
            yield graph, statistics.mean(value for value, level, part in rows if (level, part) == (sigma, ""))


def main():
    small = "--families c-alpha[alpha=2,size=8] --sigmas 0.1 --images 32"
    options = harness.options(__doc__, small, families=FAMILIES, sigmas=[0.03, 0.1, 0.3], images=32)
    directions_by_graph = {described: [] for described in constructions()}
    for described in options.families:
        dataset = gahbench.create("dataset", described)
        # The Jacobian of the lower bound is the optimal filter.
        bound, images = gahbench.create("reference", "lower-bound"), dataset.images("test", options.images)
        for graph, value in directions(Evaluation(bound, images, options.sigmas, dataset=dataset)):
            directions_by_graph[graph].append(value)
    columns = [f"{family}, {sigma:g}" for family in options.families for sigma in options.sigmas]
    print("| graph | mean | minimum |", " | ".join(columns), "|")
    print("| --- | ---: | ---: |" + " ---: |" * len(columns))
    for described, values in sorted(directions_by_graph.items(), key=lambda item: -sum(item[1])):
        cells = [f"{value:.2f}" for value in (sum(values) / len(values), min(values), *values)]
        print(f"| `{described}` |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
