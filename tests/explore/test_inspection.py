"""``gahbench inspect``: eigenvectors of Jacobians, and comparison with bases."""

from pathlib import Path

import numpy as np
import pytest
import torch

import gahbench
from gahbench import GahbenchError
from gahbench.explore.inspection import figures

SMALL = "c-alpha[size=8]"


def test_eigenvalues_and_scores_of_a_low_pass():
    inspection = gahbench.inspect("low-pass[.25]", dataset=SMALL, sigmas=[0.1], bases=["dct", "graph-laplacian"])
    (level,) = inspection.levels
    np.testing.assert_allclose(level.eigenvalues, [1] * 16 + [0] * 48, atol=1e-5)
    assert level.scores["spectrum.trace"] == pytest.approx(16, abs=1e-4)
    assert level.scores["spectrum.above-half"] == 16
    # A denoiser that ignores the image aligns with nothing.
    row = level.agreements["dct"]
    assert (row.single, row.direction.value, row.alignment.value) == (0, 0, 0)
    # Orthonormal bases keep the energy of the image.
    assert list(level.coefficients) == ["learned", "dct", "graph-laplacian"]
    for coefficients in level.coefficients.values():
        assert float(coefficients.square().sum()) == pytest.approx(float(inspection.clean.square().sum()), rel=1e-5)


def test_scores_equal_those_of_a_run():
    metrics = ["psnr", "spectrum", "self-consistency", "direction[sym4]"]
    scored = gahbench.score(
        lambda noisy, sigma: noisy, SMALL, sigmas=[0.1, 0.3], images=28, metrics=metrics, name="identity-again"
    )
    inspection = gahbench.inspect("identity", dataset=SMALL, sigmas=[0.1, 0.3], bases=["sym4"])
    rows = scored.scores.query("entrant == 'identity' and image == 0")
    checked = 0
    for level in inspection.levels:
        for row in rows[rows["sigma"] == level.sigma].itertuples():
            # Stein's estimate depends on the other images.
            if row.metric in level.scores and row.metric != "self-consistency.sure":
                assert level.scores[row.metric] == pytest.approx(row.value, abs=1e-4), row.metric
                checked += 1
    assert checked >= 2 * 6


@pytest.mark.parametrize("index", [0, 5])
def test_the_true_basis_belongs_to_the_inspected_image(index):
    settings = {"index": index, "sigmas": [0.1], "bases": ["true-basis"], "others": 31}
    inspection = gahbench.inspect("lower-bound", dataset=SMALL, **settings)
    (level,) = inspection.levels
    assert level.agreements["best denoiser"].alignment.value == pytest.approx(1, abs=1e-4)
    dataset = gahbench.create("dataset", SMALL)
    assert torch.equal(inspection.clean, dataset.images("test", 1, index)[0])
    vectors = dataset.true_basis("test", 1, index).vectors[0].double()
    expected = (vectors.T @ inspection.clean.double().flatten()).abs()
    np.testing.assert_allclose(level.coefficients["true-basis"][: len(expected)].abs(), expected, atol=1e-5)


def test_near_the_end_of_a_split_preceding_images_are_compared():
    settings = {"dataset": "faces[size=8]", "sigmas": [0.1], "bases": ["dct"]}
    last, first = (gahbench.inspect("oracle-shrink[dct]", index=index, **settings) for index in (23, 0))
    assert torch.equal(last.clean, gahbench.create("dataset", "faces", size=8).images("test", 24)[23])
    # Both compare all 24 images.
    means = [inspection.levels[0].agreements["dct"].direction.value for inspection in (last, first)]
    assert means[0] == pytest.approx(means[1], abs=1e-6)


def test_figures_are_reproducible(tmp_path):
    inspection = gahbench.inspect("oracle-shrink[sym4]", dataset=SMALL, index=3, sigmas=[0.1], bases=["sym4"])
    names = ["gallery-0.1", "spectra", "decay", "bases"]
    files = inspection.save(tmp_path / "a")
    assert files == [tmp_path / "a" / f"{name}.png" for name in names]
    for file, again in zip(files, inspection.save(tmp_path / "b"), strict=True):
        assert file.read_bytes() == again.read_bytes()
    pages = inspection.save(tmp_path / "a.pdf")[0].read_bytes()
    assert (pages[:4], pages.count(b"/Type /Page ")) == (b"%PDF", len(files))


def test_inspect_prints_the_numbers_of_its_figures(command):
    bases, dataset = ("-b", "dct", "-b", "graph-laplacian[hr=0.2]"), "c-alpha[size=8]"
    status, printed, stderr = command("inspect")("low-pass[.25]", "-d", dataset, "-s", "25/255,0.2", "-k", "3", *bases)
    assert status == 0, stderr
    lines = [line.split() for line in printed.splitlines()]
    inspection = gahbench.inspect("low-pass[.25]", dataset=dataset, sigmas=[25 / 255, 0.2], bases=bases[1::2])
    level = inspection.levels[1]
    noisy = -10 * np.log10(float((level.noisy.double() - inspection.clean.double()).square().mean()))
    expected = ["0.2", f"{noisy:.1f}", f"{level.scores['psnr']:.1f}", "16.0", "16"]
    assert [line[:5] for line in lines if line[:2] == expected[:2]] == [expected]
    for name, row in level.agreements.items():
        start = ["0.2", *name.split(), f"{row.single:.3f}"]
        assert start in [line[: len(start)] for line in lines]
    assert len(list(Path("inspect-low-pass_share=0.25").iterdir())) == 5


PIXELWISE = """
def denoise(self, noisy, sigma, truth):
    falling = 1.2 * 0.9 ** torch.arange(2500.0)
    return noisy * falling[torch.randperm(2500, generator=torch.Generator().manual_seed(0))].reshape(50, 50)
"""


def test_large_images_have_their_first_eigenvectors_by_lanczos(write_class):
    settings = {"dataset": "discs[size=50]", "sigmas": [0.2], "ranks": [1, 7, 24], "bases": ["dct"]}
    inspection = gahbench.inspect("mine", **settings, plugins=[write_class("reference", PIXELWISE)])
    (level,) = inspection.levels
    # The Jacobian is diagonal: its eigenvectors are pixels.
    assert level.eigenvectors.shape == (24, 2500)
    np.testing.assert_allclose(level.eigenvalues, 1.2 * 0.9 ** np.arange(24), rtol=1e-4)
    assert (level.eigenvectors.abs().max(dim=1).values > 0.999).all()
    assert not level.agreements
    assert "lanczos" in " ".join(inspection.notes)
    assert [name for name, _ in figures(inspection)] == ["gallery-0.2", "spectra", "decay"]


@pytest.mark.parametrize(("brightest", "count"), [(-9.0, "28 of 28"), (0.4, r"[1-9]\d? of 28")])
def test_a_denoiser_that_returns_nan_raises(write_class, brightest, count):
    # The detached mask keeps derivatives finite.
    mask = f"noisy.detach().mean((1, 2, 3), keepdim=True) <= {brightest}"
    body = f"def denoise(self, noisy, sigma, truth): return noisy.where({mask}, torch.nan)"
    settings = {"dataset": "discs[size=8]", "sigmas": [0.1], "plugins": [write_class("reference", body, "nan-at")]}
    with pytest.raises(GahbenchError, match=count + " denoised images have infinite or NaN values"):
        gahbench.inspect("nan-at", **settings)
