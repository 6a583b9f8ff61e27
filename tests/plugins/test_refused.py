"""Parameters and shapes that plugins refuse, and words of the errors, in order."""

import re

import numpy as np
import pytest
import torch

import gahbench

PARAMETERS = {
    "dataset": [
        ("c-alpha[alpha=0]", "alpha=0"),
        ("c-alpha[render_size=100]", "render_size=100 with size=64; accepted: multiples of the size, or null"),
        ("c-alpha[construction=paper,render_size=128]", "need construction='exact'"),
        ("c-alpha[construction=paper,background_alpha=flat]", "need construction='exact'"),
        ("c-alpha[construction=paper,contour=disc]", "accepted: 'line'"),
        ("gaussian-faces[discs]", "has endless training images; accepted"),
        ("gaussian-faces[faces[one.npz]]", "has 0 training images; accepted"),
        ("finite[count=65]", "count=65, but faces has 64 training images; accepted: up to 64"),
        ("rays[faces[black.npz]]", "black"),
        ("sinusoids[size=12,rows=0,columns=0]", "less than half"),
        ("sinusoids[size=12,rows=0,columns=-6]", "less than half"),
        ("captures[path=here,black=5,white=3]", "white=3; accepted: greater than black=5"),
        ("photos[path=here,fold=1]", "fold=1: accepted only without a 'path'"),
        ("photos[test=3]", "test=3: accepted only with a 'path'"),
        ("photos[split=random]", "split=random: accepted only with a 'path'"),
        ("whole[height=12]", "give both, or neither"),
    ],
    "architecture": [
        ("vit[width=16,heads=3]", "heads=3 must divide width=16"),
        ("vit[width=18,heads=2]", "multiple of 4"),
        ("nafnet[encoder=[1,1],decoder=[1]]", "have 2 and 1"),
        ("unet-conditional[blind=true,sigma_data=0.2]", "blind=true with sigma_data=0.2"),
        ("timm-unet[resnet81]", "similar names: resnet"),
        ("timm-unet[resnet18.nonsense]", "accepted tags: .*a1_in1k"),
        ("timm-unet[convnext_atto,levels=6]", "convnext_atto"),
    ],
    "reference": [
        ("threshold[rule=firm]", "rule='firm'.*'hard' or 'soft'"),
        *((f"threshold[k={k}]", "k=") for k in ("0.0", "-1.0", ".inf", ".nan")),
        ("threshold[true-basis]", "'true-basis'.*for oracles only"),
        ("nl-means[patch=4]", "odd sides"),
        ("local-score[4]", "odd sides"),
        ("heat-kernel[sym4]", "accepted: bases of graphs"),
        ("heat-kernel[time=1.0,trace_fraction=0.5]", "accepted: one of the two"),
        ("oracle-best-basis[bases=[haar]]", "at least 2"),
        ("oracle-best-basis[bases=[haar,haar]]", "repeats a basis"),
        ("cycle-spin[shifts=0]", "shifts=0"),
        *(
            (f"cycle-spin[{inner}]", f"reference '{inner}.*' is of kind")
            for inner in ("oracle-shrink", "optimal", "lower-bound")
        ),
        ("by-level[[oracle-threshold],[15]]", "references=oracle-threshold"),
        ("by-level[[identity],[15,25]]", "levels="),
        ("by-level[[identity,low-pass],[25,25]]", "levels="),
    ],
    "basis": [
        ("wavelet[symm4]", "'symm4' is not a discrete wavelet; accepted: haar"),
        ("wavelet[bior2.3]", "accepted: haar, db1 to db38, sym2 to sym20, coif1 to coif17, bior1.1, "),
        ("wavelet[mexh]", "rbio6.8"),
        ("wavelet-packet[bior2.2]", "not an orthogonal wavelet"),
        ("wavelet-ti[bior2.2]", "not an orthogonal wavelet"),
        ("wavelet-ti[haar,levels=0]", "levels=0"),
        ("bandlet[symm5]", "not an orthogonal wavelet"),
        ("bandlet[smallest=3]", "smallest=3; accepted: powers of 2"),
        ("bandlet[largest=48]", "largest=48; accepted: powers of 2"),
        ("bandlet[largest=64]", "largest=64 with directions=32; accepted: squares of up to 32, or directions=fine"),
        ("bandlet[largest=null]", "largest=None with directions=32"),
        ("bandlet[smallest=16,largest=8]", "smallest=16 is larger than largest=8"),
        ("bandlet[smallest=2,moments=5]", "moments=5; accepted: 1 to smallest^2 = 4"),
        ("bandlet[null,levels=2]", "levels=2 without a wavelet"),
        ("iso-local[window=4]", "4 is even; accepted: odd numbers"),
    ],
    "metric": [
        *((f"rate[basis={basis}]", "fixed orthonormal") for basis in ("bandlet", "pca", "wavelet[bior2.2]")),
        ("distance[oracle-shrink]", "to: a reference of kind 'oracle' sees the clean image; accepted: other kinds"),
        ("sample-prediction[oracle-shrink]", "sees the clean image"),
    ],
}


def assert_words(error, words):
    assert re.search(".*".join(map(re.escape, words.split(".*"))), str(error.value)), str(error.value)


@pytest.mark.parametrize(
    ("kind", "spec", "words"), [(kind, *row) for kind, refused in PARAMETERS.items() for row in refused]
)
def test_parameters_are_refused(kind, spec, words):
    np.savez("black.npz", images=np.zeros((10, 9, 9), dtype=np.uint8))
    np.savez("one.npz", images=np.random.default_rng(0).integers(0, 256, (1, 8, 8), dtype=np.uint8))
    shape = {"shape": (1, 16, 16)} if kind == "architecture" else {}
    with pytest.raises(gahbench.GahbenchError) as error:
        gahbench.create(kind, spec, **shape)
    assert_words(error, words)


#: Kind, plugin, accepted shape, refused shape, and words of the error.
SHAPES = [
    ("reference", "heat-kernel", (3, 64, 64), (1, 65, 64), "up to 4096 pixels"),
    ("reference", "local-blur", (3, 64, 64), (1, 65, 64), "local-blur is a matrix"),
    ("reference", "pca-locality", (1, 64, 64), (1, 65, 65), "up to 4096 values"),
    ("reference", "wiener-linear", (1, 64, 64), (1, 65, 65), "up to 4096 values"),
    ("reference", "cycle-spin[shifts=8]", (1, 8, 32), (1, 7, 32), "accepted: 1 to 7"),
    ("reference", "pspc[5]", (1, 5, 6), (1, 4, 6), "patch=5 does not fit into images of 4x6; accepted: up to 4"),
    ("reference", "untrained[unet[width=2,levels=2]]", (1, 12, 8), (1, 10, 8), "multiples of 4, not 10x8"),
    ("basis", "wavelet[sym4,levels=5]", (1, 64, 64), (1, 31, 64), "needs image sides of at least 32, not 31x64"),
    ("basis", "wavelet-packet[haar,levels=5]", (1, 64, 64), (1, 20, 40), "sides of at least 32"),
    ("basis", "wavelet-ti[haar,levels=4]", (1, 64, 64), (1, 12, 64), "sides of at least 16, not 12x64"),
    ("basis", "bandlet[levels=4]", (1, 64, 64), (1, 12, 40), "sides of at least 16, not 12x40"),
    ("basis", "graph-laplacian", (1, 64, 64), (1, 64, 65), "up to 4096 pixels"),
    ("basis", "iso-local", (1, 64, 64), (1, 65, 64), "up to 4096 pixels"),
    ("basis", "pca", (1, 64, 64), (3, 64, 64), "up to 4096"),
    ("basis", "true-basis", (1, 64, 64), (1, 65, 65), "up to 4096"),
    ("metric", "leakage", (1, 48, 48), (1, 56, 48), "needs all eigenvectors .* up to 2304 values, .* not 2688 of"),
    ("metric", "leakage", (3, 16, 16), (3, 32, 32), "not 3072 of 3x32x32"),
    ("metric", "decay", (1, 64, 64), (1, 32, 32), "ranks 32 to 32 on images"),
    ("metric", "decay[min_terms=8]", (1, 32, 32), (1, 8, 8), "on images"),
    ("metric", "alignment", (1, 64, 64), (3, 65, 64), "images of 65x64; accepted for graphs: up to 4096"),
    ("metric", "alignment[sym4]", (1, 128, 128), (1, 7, 9), "7x9"),
    ("metric", "alignment[dct,controlling_for=sym4]", (1, 64, 64), (1, 7, 9), "7x9"),
    ("metric", "direction", (1, 48, 48), (1, 49, 48), "up to 2304 values .* not 1x49x48"),
    ("metric", "gaussian-share", (1, 64, 64), (1, 65, 64), "gaussian-share needs the covariance"),
]


@pytest.mark.parametrize(("kind", "spec", "taken", "refused", "words"), SHAPES)
def test_shapes_are_refused(kind, spec, taken, refused, words):
    plugin = gahbench.create(kind, spec)
    check = (lambda shape: plugin.check(shape, [0.1])) if kind == "metric" else plugin.check_shape
    check(taken)
    with pytest.raises(ValueError) as error:
        check(refused)
    assert_words(error, words)
    if spec in ("graph-laplacian", "iso-local"):
        with pytest.raises(ValueError, match=words):
            plugin.adapt(torch.zeros(1, *refused), 0.1)
