"""How often a GPU waits in each path of :mod:`paths`: values read back, and uploads that block.

The first entry of a group is that of its other paths. The table of the guide is made of these. Another version of torch
may read back elsewhere: then ``python -m tests.devices --places`` says where, and the numbers here follow.
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
    "checks of a fit": {
        "": (0, 0),
        "marks": (20, 5),
    },
    "denoising a batch": {
        "": (1, 0),
    },
    "Jacobian, products": {
        "": (2, 0),
    },
    "Jacobian, matrices and eigenvectors": {
        "": (7, 0),
        "bf-cnn, bfloat16": (13, 6),
    },
    "basis": {
        "": (0, 0),
        "bandlet": (0, 17),
        "graph-laplacian": (1, 0),
        "iso-local": (1, 0),
        "patch-graph": (1, 0),
        "true-flow": (0, 60),
        "bandlet, 32 pixels": (0, 27),
        "true-flow, 32 pixels": (0, 48),
    },
    "basis, 17x23 pixels": {
        "": (0, 2),
        "bandlet": (0, 0),
        "dct": (0, 0),
        "graph-laplacian": (1, 0),
        "iso-local": (1, 0),
        "patch-graph": (1, 0),
        "pca": (0, 0),
        "pixel": (0, 0),
        "wavelet-packet": (0, 6),
        "wavelet-ti": (0, 0),
    },
    "filters of a basis": {
        "": (2, 1),
        "bandlet": (2, 18),
        "curvelet": (3, 1),
        "graph-laplacian": (3, 0),
        "iso-local": (3, 0),
        "patch-graph": (3, 0),
        "true-basis": (2, 2),
        "true-flow": (2, 61),
        "wavelet-ti": (3, 1),
    },
    "reference": {
        "": (0, 3),
        "bandlet": (0, 19),
        "gaussian-blur": (0, 1),
        "heat-kernel": (1, 1),
        "identity": (0, 0),
        "local-blur": (0, 0),
        "low-pass": (0, 1),
        "lower-bound": (1, 1),
        "nl-means": (0, 0),
        "oracle-best-basis": (0, 2),
        "oracle-shrink": (0, 1),
        "oracle-threshold": (0, 1),
        "sure-shrink": (0, 8),
        "threshold": (0, 2),
        "tv": (1, 1),
        "visu-shrink": (0, 2),
    },
    "reference that moves": {
        "": (3, 5),
        "local-score": (3, 40),
        "pca-locality": (3, 7),
        "pspc": (3, 9),
        "untrained": (3, 2),
        "local-score, alike patches merged": (537, 56),
    },
    "dataset": {
        "": (0, 2),
        "training images of c-alpha": (0, 4),
        "c-alpha[size=16]": (1, 1),
        "discs[size=8]": (38, 33),
        "gaussian-faces": (0, 5),
        "gaussian-field[size=16]": (0, 3),
    },
    "metric": {
        "": (0, 0),
        "adaptation": (25, 35),
        "alignment": (35, 15),
        "biased-generalization": (114, 0),
        "capture": (35, 10),
        "closest-training": (14, 0),
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
        "own-half": (14, 0),
        "representation": (3, 4),
        "self-consistency": (10, 0),
        "sparsity": (5, 0),
        "spectrum": (45, 5),
        "training-times": (90, 0),
        "truth-alignment": (20, 0),
    },
    "sampling": {
        "": (27, 0),
        "stochastic": (9, 0),
    },
    "statistics of samples": {
        "": (0, 0),
        "affine ratios, images on the CPU": (0, 1),
        "memorization ratios, images on the CPU": (1, 3),
        "memorization ratios, one image, images on the CPU": (1, 4),
        "near duplicates": (1, 0),
        "near duplicates, images on the CPU": (2, 4),
        "nearest, images on the CPU": (1, 3),
        "nearest by cosine, images on the CPU": (0, 1),
        "patch distance": (1, 3),
        "patch distance, images on the CPU": (1, 3),
        "spectrum distance": (13, 2),
        "spectrum distance, images on the CPU": (7, 2),
    },
    "public functions": {
        "": (2, 0),
        "sample optimal": (0, 0),
        "sample empirical-bayes[images=8]": (21, 43),
        "sample untrained[architecture=unet[width=4]]": (2, 41),
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
