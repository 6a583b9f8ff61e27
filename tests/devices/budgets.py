"""How often a GPU may wait in each path of :mod:`paths`: values read back, and uploads that block.

The first entry of a group is that of its other paths. The table of the guide is made of these.
"""

from __future__ import annotations

BUDGETS: dict[str, dict[str, tuple[int, int]]] = {
    "training step": {
        "": (0, 0),
    },
    "fit, resumed": {
        "": (30, 5),
        "float32, from the CPU to the device": (23, 30),
    },
    "denoising a batch": {
        "": (1, 0),
    },
    "Jacobian, products": {
        "": (0, 0),
    },
    "Jacobian, matrices and eigenvectors": {
        "": (12, 6),
        "bf-cnn, float32": (6, 0),
    },
    "basis": {
        "": (0, 1),
        "bandlet": (0, 23),
        "curvelet": (0, 14),
        "db2": (0, 2),
        "db4": (0, 2),
        "graph-laplacian": (4, 0),
        "haar": (0, 2),
        "iso-local": (4, 0),
        "patch-graph": (4, 0),
        "pixel": (0, 0),
        "sym4": (0, 2),
        "sym5": (0, 0),
        "sym8": (0, 2),
        "true-flow": (0, 60),
        "wavelet": (0, 0),
        "wavelet-packet": (0, 0),
    },
    "filters of a basis": {
        "": (2, 1),
        "bandlet": (2, 18),
        "curvelet": (3, 1),
        "graph-laplacian": (6, 0),
        "iso-local": (6, 0),
        "patch-graph": (6, 0),
        "pca": (2, 2),
        "true-basis": (2, 3),
        "true-flow": (2, 61),
        "wavelet-ti": (3, 1),
    },
    "reference": {
        "": (0, 1),
        "bandlet": (0, 19),
        "bayes-shrink": (0, 3),
        "cycle-spin": (0, 3),
        "heat-kernel": (1, 1),
        "identity": (0, 0),
        "local-blur": (0, 0),
        "local-score": (0, 9),
        "lower-bound": (1, 1),
        "nl-means": (0, 0),
        "optimal": (0, 3),
        "oracle-best-basis": (0, 2),
        "pca-locality": (0, 0),
        "pretrained": (2, 0),
        "sure-shrink": (0, 8),
        "threshold": (0, 2),
        "torch-export": (1, 0),
        "tv": (1, 1),
        "untrained": (1, 0),
        "visu-shrink": (0, 2),
        "wiener-linear": (0, 3),
    },
    "posterior": {
        "": (0, 2),
        "c-alpha[size=16]": (1, 1),
        "discs[size=8]": (38, 33),
        "gaussian-faces": (0, 5),
        "gaussian-field[size=16]": (0, 3),
    },
    "metric": {
        "": (0, 0),
        "adaptation": (25, 35),
        "alignment": (35, 15),
        "biased-generalization": (78, 30),
        "capture": (35, 10),
        "closest-training": (8, 4),
        "contour-anisotropy": (10, 0),
        "direction": (20, 0),
        "distance": (10, 11),
        "generalization-gap": (5, 0),
        "harmonic-order": (15, 1),
        "leakage": (30, 10),
        "learned-decay": (5, 0),
        "learning-times": (21, 0),
        "local-dimension": (25, 10),
        "model-variance": (5, 0),
        "own-half": (8, 4),
        "representation": (3, 4),
        "self-consistency": (10, 0),
        "sparsity": (5, 0),
        "spectrum": (45, 5),
        "training-times": (90, 0),
        "truth-alignment": (20, 0),
    },
    "sampling": {
        "": (15, 8),
        "stochastic": (5, 8),
    },
    "public functions": {
        "": (2, 5),
        "sample optimal": (0, 0),
        "sample empirical-bayes[images=8]": (21, 43),
        "sample untrained[architecture=unet[width=4]]": (2, 45),
    },
}


def table() -> list[str]:
    """Return the lines of the table of the guide."""
    lines = ["| path | reads | uploads | others |", "| --- | ---: | ---: | --- |"]
    for group, counts in BUDGETS.items():
        reads, uploads = counts[""]
        others: dict[tuple[int, int], list[str]] = {}
        for name, count in counts.items():
            if name:
                others.setdefault(count, []).append(f"`{name}`" if "," not in name else name)
        texts = (f"{count[0]} and {count[1]}: {', '.join(names)}" for count, names in sorted(others.items()))
        lines.append(f"| {group} | {reads} | {uploads} | {'; '.join(texts)} |")
    return lines
