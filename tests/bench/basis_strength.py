"""How much of an alignment is strength: that with traces matched image by image, and with strength divided out.

Not a test: run it as ``python tests/bench/basis_strength.py ENTRANT DATASET``, such as
``"dncnn[bias=false,checkpoint=bf_dncnn_0-100.pt]" "photos[bsd68.npz,size=30]"``. GAH alignment takes one trace for all
images. Here are beside it:

- matched: the filter on the graph has the trace of the denoiser's filter, image by image;
- another: the same with the graph of another image, so that only strength is left;
- shape: every filter is divided by its trace first, so that strength alone scores 0; with the image's graph, and with
  another's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import smoke
import torch

import gahbench
from gahbench._util.resources import cpu_count
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.references import Reference
from gahbench.contracts.training_data import TrainingData
from gahbench.contracts.truth import Truth
from gahbench.evaluation.alignment import align
from gahbench.evaluation.evaluation import Evaluation
from gahbench.jacobian import Sketch
from gahbench.planning.suite import configure_entrant
from gahbench.registry.registry import Registry
from gahbench.registry.spec import parse_spec

GRAPH = "graph-laplacian"
BASES = (GRAPH, "wavelet-ti[haar]", "haar", "wavelet[db2]", "bandlet", "dct", "block-dct[size=10]")
#: Another image's graph: those so many places further on, in turn.
STEPS = (1, 2, 3, 5, 7)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table for each noise level."""
    parser = argparse.ArgumentParser(description="Alignment, and how much of it is strength.")
    parser.add_argument("entrant", help="a reference, or an architecture with a checkpoint")
    parser.add_argument("dataset")
    parser.add_argument("--sigma", type=float, nargs="+", default=[10 / 255, 30 / 255, 100 / 255])
    parser.add_argument("--basis", nargs="+", default=BASES)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--threads", type=int, default=cpu_count(), help="threads of torch")
    options = smoke.parse(
        parser,
        "untrained[linear] discs[size=8] --sigma 0.1 --basis graph-laplacian haar --images 6 --threads 1",
        arguments,
    )
    torch.set_num_threads(options.threads)
    dataset: Dataset = gahbench.create("dataset", options.dataset)
    reference: Reference = configure_entrant(Registry(), parse_spec(options.entrant)).build()
    reference.fit(TrainingData(dataset))
    evaluation = Evaluation(reference, dataset.images("test", options.images), options.sigma, dataset=dataset)
    for sigma in options.sigma:
        table(evaluation, sigma, options.basis)


def table(evaluation: Evaluation, sigma: float, bases: Sequence[str]) -> None:
    """Print the alignments at one noise level."""
    found, trace = evaluation.local.sketch(sigma), evaluation.local.trace(sigma)
    assert found is not None
    assert trace is not None
    traces, truth = trace.value, evaluation.truth
    low, high = float(traces.min()), float(traces.max())
    print(f"\nσ = {sigma:.3g}, traces from {low:.0f} to {high:.0f}\n")
    print("| basis | alignment | matched | another | shape | another's shape |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in bases:
        basis: Basis = gahbench.create("basis", name)
        if evaluation.dataset is not None:
            basis.fit(TrainingData(evaluation.dataset))

        def filters(seen: Truth, strength: torch.Tensor, basis: Basis = basis) -> Sketch:
            return basis.filters(seen, sigma, strength).sketch()

        matched = filters(truth, traces)
        values = [score(found, filters(truth, traces.mean().expand(len(traces)))), score(found, matched)]
        others = [filters(replace(truth, clean=truth.clean.roll(step, 0)), traces) for step in STEPS]
        values.append(sum(score(found, other) for other in others) / len(others))
        values.append(score(unit(found), unit(matched)))
        values.append(sum(score(unit(found), unit(other)) for other in others) / len(others))
        # Oracle shrinkage has the strength of the image that it is made from.
        shown = values if name == GRAPH else [values[0], None, None, values[3], None]
        print(f"| `{name}` |", " | ".join("–" if value is None else f"{value:.2f}" for value in shown), "|")


def score(one: Sketch, other: Sketch) -> float:
    """Return the mean alignment."""
    found = align(one, other)
    return float("nan") if found is None else float(found.own.mean())


def unit(sketch: Sketch) -> Sketch:
    """Return filters divided by their traces; the sketch must be exact."""
    traces = sketch.rows.diagonal(dim1=1, dim2=2).sum(1)
    return Sketch(sketch.rows / traces[:, None, None], sketch.exact)


if __name__ == "__main__":
    main()
