"""The dependence of direction on the graph: direction of the optimal filter with graphs of all kinds.

Run ``python tests/bench/laplacian_construction.py``, which takes some minutes on two cores. On C^alpha images the
optimal filter given the contour is known, so no network is needed. The graph whose Tikhonov filter agrees best with the
optimal filter is the best model of a geometry-adaptive harmonic basis.
"""

import itertools

import harness

import gahbench
from gahbench import image_shape
from gahbench.contracts.truth import Truth
from gahbench.evaluation import adaptation, align, remove_strength

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


def directions(best, truth):
    """Yield the direction of the optimal filters at each noise level with each graph."""
    shape = image_shape(truth.clean)
    traces = {sigma: maps.trace().value for sigma, maps in best.items()}
    # Nearly all graphs reach the traces of all images, so the directional parts of optimal filters can be cached.
    parts = {}
    for graph in constructions():
        basis = gahbench.create("basis", graph)
        # The graph depends only on the clean images.
        family = basis.filters(truth, 0.0)
        for sigma, maps in best.items():
            reached = family.reaches(traces[sigma])
            remove = remove_strength(traces[sigma], reached)
            key = sigma, tuple(reached.tolist())
            if key not in parts:
                parts[key] = adaptation(maps.sketch(), remove).directional(shape)
            filters = adaptation(family.at(traces[sigma]).sketch(), remove).directional(shape)
            yield graph, float(align(parts[key], filters).own.mean())


def main():
    small = "--families c-alpha[alpha=2,size=8] --sigmas 0.1 --images 8"
    options = harness.options(__doc__, small, families=FAMILIES, sigmas=[0.03, 0.1, 0.3], images=32)
    directions_by_graph = {described: [] for described in constructions()}
    for described in options.families:
        dataset = gahbench.create("dataset", described)
        truth = Truth(dataset.images("test", options.images), dataset)
        best = {sigma: dataset.optimal_filters(truth.clean, sigma, "test") for sigma in options.sigmas}
        assert None not in best.values(), f"{described} has no known optimal filters"
        for graph, value in directions(best, truth):
            directions_by_graph[graph].append(value)
    columns = [f"{family}, {sigma:g}" for family in options.families for sigma in options.sigmas]
    print("| graph | mean | minimum |", " | ".join(columns), "|")
    print("| --- | ---: | ---: |" + " ---: |" * len(columns))
    for described, values in sorted(directions_by_graph.items(), key=lambda item: -sum(item[1])):
        cells = [f"{value:.2f}" for value in (sum(values) / len(values), min(values), *values)]
        print(f"| `{described}` |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
