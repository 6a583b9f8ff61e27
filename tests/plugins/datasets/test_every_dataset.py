"""Datasets keep their contract with other parameters than the defaults, say what they know, and what is refused."""

import numpy as np
import pytest
import torch

import gahbench
from gahbench._util.errors import GahbenchError
from gahbench._util.noise import BLOCK
from gahbench.contracts.datasets import SPLITS
from gahbench.registry.registry import Registry
from gahbench.testing import check_configured

#: Whether each dataset knows the basis in which its best denoiser shrinks.
KNOWN = {
    "c-alpha[size=8]": True,
    "c-alpha[size=8,contour=closed]": True,
    "c-alpha[size=8,contour=disc,background_alpha=flat,master=16]": True,
    "c-alpha[size=8,construction=paper]": False,
    "gaussian-field[size=8,colour=rgb]": True,
    "gaussian-faces[faces=faces[size=8]]": True,
    "discs[size=8]": False,
    "sinusoids[size=16,rows=-3,columns=0]": False,
    "rays[discs[size=8],index=3]": False,
    "faces[size=8,split=random]": False,
    "photos[size=32,colour=rgb]": False,
    "finite[faces[size=8],count=1]": False,
    "shuffled[gaussian-field[size=8]]": True,
    "shuffled[c-alpha[size=8,construction=paper]]": False,
    "shuffled[discs[size=8]]": False,
    "shuffled[faces[size=8]]": False,
    "shuffled[shuffled[finite[faces[size=8],count=4]]]": False,
}


# Discs alone take long, and are checked with all plugins.
@pytest.mark.parametrize("spec", [spec for spec in KNOWN if spec not in ("discs[size=8]", "shuffled[discs[size=8]]")])
def test_it_keeps_its_contract(spec):
    report = check_configured(Registry().configure("dataset", spec))
    assert report.passed, str(report)


@pytest.mark.parametrize("spec", KNOWN)
def test_it_says_whether_it_knows_its_basis(spec):
    assert gahbench.create("dataset", spec).has_true_basis == KNOWN[spec]


@pytest.mark.parametrize("spec", ["c-alpha[size=16]", "c-alpha[size=16,construction=paper]", "discs[size=16]"])
def test_blocks_of_images_follow_each_other_and_differ(spec):
    dataset = gahbench.create("dataset", spec)
    many = dataset.images("train", 2 * BLOCK + 10)
    for count, start in ((BLOCK, 0), (BLOCK + 1, 0), (1, BLOCK), (BLOCK, BLOCK - 1), (5, 2 * BLOCK + 5)):
        assert torch.equal(dataset.images("train", count, start), many[start : start + count])
    images = torch.cat([many, dataset.images("validation", 8), dataset.images("test", 8)])
    distances = torch.cdist(images.flatten(1), images.flatten(1)) + 1e3 * torch.eye(len(images))
    assert distances.min() > 1e-3
    torch.manual_seed(2)
    assert torch.equal(gahbench.create("dataset", spec).images("train", 3), many[:3])
    assert not torch.equal(gahbench.create("dataset", spec, seed=1).images("train", 3), many[:3])
    assert [dataset.available(split) for split in SPLITS] == [None] * 5
    assert len(dataset.images("train", 2, start=10**6)) == 2


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("c-alpha[4]", "c-alpha[alpha=4]"),
        ("gaussian-field", "gaussian-field[alpha=2]"),
        ("gaussian-faces", "gaussian-faces[faces[size=24]]"),
        ("finite", "finite[faces,count=64]"),
        ("faces[size=24]", "faces[size=24]"),
        ("shuffled[gaussian-field[size=8]]", "shuffled[gaussian-field[alpha=2,size=8]]"),
    ],
)
def test_labels(spec, label):
    assert Registry().configure("dataset", spec).label == label


@pytest.mark.parametrize("spec", ["finite[faces]", "gaussian-faces[faces]", "shuffled[faces]", "rays[faces]"])
def test_what_is_made_of_a_dataset_has_its_fingerprint_and_licence(spec):
    dataset, inner = gahbench.create("dataset", spec), gahbench.create("dataset", "faces")
    assert dataset.fingerprint() == inner.fingerprint() is not None
    assert dataset.card.licence == inner.card.licence
    assert inner.card.origin in dataset.card.origin


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write small files of images, and work in their folder."""
    monkeypatch.chdir(tmp_path)
    np.savez("black.npz", images=np.zeros((10, 9, 9), dtype=np.uint8))
    np.savez("one.npz", images=np.random.default_rng(0).integers(0, 256, (1, 8, 8), dtype=np.uint8))


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("c-alpha[alpha=0]", "alpha=0"),
        ("c-alpha[size=7]", "size=7"),
        ("c-alpha[construction=other]", "construction="),
        ("c-alpha[background_alpha=0]", "background_alpha=0"),
        ("c-alpha[master=100]", "master=100 with size=64: accepted are multiples of the size, or null"),
        ("c-alpha[construction=paper,master=128]", "need construction='exact'"),
        ("c-alpha[construction=paper,background_alpha=flat]", "need construction='exact'"),
        ("c-alpha[construction=paper,contour=disc]", "accepted is 'line'"),
        ("gaussian-field[std=0]", "std=0"),
        ("gaussian-field[colour=blue]", "colour="),
        ("gaussian-faces[isotropic=1.5]", "isotropic=1.5"),
        ("gaussian-faces[contrast=0]", "contrast=0"),
        ("gaussian-faces[faces=nothing]", "nothing"),
        ("gaussian-faces[discs]", "never ends; accepted"),
        ("gaussian-faces[faces[one.npz]]", "holds 0 training images; accepted"),
        ("finite[count=0]", "count=0"),
        ("finite[count=65]", "count=65 of faces, which holds 64 training images; accepted"),
        ("finite[dataset=faces[size=2]]", "size=2"),
        ("rays[image=nothing]", "nothing"),
        ("rays[faces[black.npz]]", "black"),
        ("sinusoids[size=12,rows=0,columns=0]", "less than half"),
        ("sinusoids[size=12,rows=6,columns=0]", "less than half"),
        ("sinusoids[size=12,rows=0,columns=-6]", "less than half"),
        ("faces[size=7]", "size=7"),
        ("faces[source=other]", "source="),
        ("faces[near_repeats=no]", "near_repeats="),
        ("faces[test=0]", "test=0"),
        ("faces[source=celeba]", "needs the 'path'"),
        ("faces[one.npz,source=lfw]", "accepted is one of them, or both with source=celeba"),
        ("faces[one.npz,source=olivetti]", "accepted is one of them, or both with source=celeba"),
        ("photos[size=7]", "size=7"),
        ("photos[colour=grey]", "colour="),
        ("photos[test=1]", "test=1"),
        ("photos[test=3]", "test=3: accepted only with a 'path'"),
        ("photos[split=random]", "split=random: accepted only with a 'path'"),
        ("whole[height=12]", "accepted are both, or neither"),
    ],
)
def test_parameters_out_of_range_are_refused(spec, says):
    with pytest.raises(GahbenchError) as caught:
        gahbench.create("dataset", spec)
    assert says in str(caught.value)
    assert spec.partition("[")[0] in str(caught.value) or "black" in says
