"""``gahbench.inspect`` and ``gahbench inspect``: eigenvectors of Jacobians, and comparison with bases."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import gahbench
from gahbench._util.errors import DataError, GahbenchError, ParameterError
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench.explore.inspection import figures
from gahbench.planning.suite_entries import configure_entrant
from gahbench.registry.registry import Registry
from gahbench.registry.spec import parse_spec

SMALL = "c-alpha[size=8]"


def test_eigenvalues_and_scores_of_a_low_pass():
    calls = []
    settings = {"dataset": SMALL, "sigmas": [0.1], "bases": ["dct", "graph-laplacian"]}
    inspection = gahbench.inspect("low-pass[.25]", **settings, progress=lambda *step: calls.append(step[:2]))
    # Jacobian, PSNR, spectrum, self-consistency; direction and alignment with the best denoiser and 2 bases.
    assert calls == [(done, 10) for done in range(11)]
    (level,) = inspection.levels
    np.testing.assert_allclose(level.eigenvalues, [1] * 16 + [0] * 48, atol=1e-5)
    assert level.scores["spectrum.trace"] == pytest.approx(16, abs=1e-4)
    assert level.scores["spectrum.above-half"] == 16
    # A denoiser that ignores the image aligns with nothing.
    for measure in ("direction", "alignment"):
        assert level.compared["dct"][measure][""].tolist() == [0] * 28
    # Orthonormal bases keep the energy of the image.
    assert list(level.coefficients) == ["learned", "dct", "graph-laplacian"]
    for coefficients in level.coefficients.values():
        assert float(coefficients.square().sum()) == pytest.approx(float(inspection.clean.square().sum()), rel=1e-5)


def test_scores_equal_those_of_the_metrics():
    bases = ["sym4", "graph-laplacian"]
    inspection = gahbench.inspect(
        "oracle-shrink[sym4]", dataset=SMALL, index=3, sigmas=[0.1, 0.3], bases=bases, others=27
    )
    registry = Registry()
    dataset = registry.create("dataset", SMALL)
    reference = registry.create("reference", "oracle-shrink[sym4]")
    reference.fit(TrainingData(dataset))
    evaluation = Evaluation(reference, dataset.images("test", 31), [0.1, 0.3], dataset=dataset)
    for name in ("psnr", "spectrum", "self-consistency"):
        scores = registry.create("metric", name).score(evaluation)
        parts = scores.part or [""] * len(scores.value)
        for part, sigma, image, value in zip(parts, scores.sigma, scores.image, scores.value, strict=True):
            # Stein's estimate depends on the other images.
            if image == 3 and part != "sure":
                level = inspection.levels[[0.1, 0.3].index(sigma)]
                assert level.scores[f"{name}.{part}" if part else name] == pytest.approx(value, abs=1e-4)
    for measure in ("direction", "alignment"):
        values = inspection.levels[0].compared["sym4"][measure][""]
        assert values.shape == (28,)
        assert (~values.isnan()).sum() >= 24
        np.testing.assert_allclose(values[~values.isnan()], 1, atol=1e-3)


def test_progress_reports_each_measurement():
    calls = []
    settings = {"dataset": "discs[size=8]", "sigmas": [0.1, 0.3], "bases": ["dct"], "others": 0}
    gahbench.inspect("low-pass", **settings, progress=lambda *step: calls.append(step))
    assert [call[:2] for call in calls] == [(done, 8) for done in range(9)]
    assert calls[1][2] == "psnr at σ = 0.1"
    assert calls[4][2] == "eigenvectors of the Jacobian at σ = 0.3"


@pytest.mark.parametrize("index", [0, 5])
def test_the_true_basis_belongs_to_the_inspected_image(index):
    inspection = gahbench.inspect(
        "lower-bound", dataset=SMALL, index=index, sigmas=[0.1], bases=["true-basis"], others=31
    )
    (level,) = inspection.levels
    alignments = level.compared["best denoiser"]["alignment"][""]
    np.testing.assert_allclose(alignments[~alignments.isnan()], 1, atol=1e-4)
    registry = Registry()
    dataset = registry.create("dataset", SMALL)
    assert torch.equal(inspection.clean, dataset.images("test", 1, index)[0])
    vectors = dataset.true_basis("test", 1, index).vectors[0].double()
    expected = (vectors.T @ inspection.clean.double().flatten()).abs()
    np.testing.assert_allclose(level.coefficients["true-basis"][: len(expected)].abs(), expected, atol=1e-5)


def test_near_the_end_of_a_split_preceding_images_are_compared():
    inspection = gahbench.inspect("low-pass", dataset="faces[size=8]", index=22, sigmas=[0.1], bases=["dct"])
    assert inspection.compared_index == 22
    with pytest.raises(DataError, match="test image 24 requested; accepted: 0 to 23"):
        gahbench.inspect("low-pass", dataset="faces[size=8]", index=24)


def test_a_network_is_inspected_with_its_weights(tmp_path):
    network = gahbench.create("architecture", "bf-cnn", width=4, layers=3)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    settings = {"dataset": "discs[size=8]", "sigmas": [0.1], "bases": ["dct"], "others": 0}
    by_argument = gahbench.inspect("bf-cnn[width=4,layers=3]", checkpoint=tmp_path / "w.pt", **settings)
    by_name = gahbench.inspect(f"bf-cnn[width=4,layers=3,checkpoint={tmp_path / 'w.pt'}]", **settings)
    assert by_argument.entrant == by_name.entrant
    assert torch.equal(by_argument.levels[0].eigenvalues, by_name.levels[0].eigenvalues)
    # A bias-free network satisfies f(y) = J y.
    assert by_argument.levels[0].scores["spectrum.homogeneity"] < 1e-4
    label = configure_entrant(Registry(), parse_spec("bf-cnn[width=4]")).label
    for arguments, message in (
        (
            {"entrant": "bf-cnn[width=4]"},
            rf"no weights: give a checkpoint, .* untrained\[{re.escape(label)}\]",
        ),
        ({"entrant": "low-pass", "checkpoint": "w.pt"}, "'low-pass': unknown parameter 'checkpoint'"),
    ):
        with pytest.raises(ParameterError, match=message):
            gahbench.inspect(**arguments, **settings)


def test_figures_are_a_folder_or_pages_and_equal_figures_give_equal_bytes(tmp_path):
    settings = {"dataset": SMALL, "sigmas": [25 / 255, 0.2], "bases": ["dct", "graph-laplacian[hr=0.2]"]}
    inspection = gahbench.inspect("low-pass[.25]", **settings)
    files, again = (inspection.save(tmp_path / name) for name in "ab")
    assert [file.stem for file in files] == ["gallery-0.09804", "gallery-0.2", "spectra", "decay", "bases"]
    assert all(file.read_bytes() == other.read_bytes() for file, other in zip(files, again, strict=True))
    pages = [inspection.save(tmp_path / f"{name}.pdf")[0].read_bytes() for name in "ab"]
    assert pages[0] == pages[1]
    assert pages[0].startswith(b"%PDF")
    assert pages[0].count(b"/Type /Page ") == len(files)
    with pytest.raises(ParameterError, match=r"eig\.png: an inspection has several figures; accepted: a folder, or a"):
        inspection.save("eig.png")
    assert [name for name, _ in figures(replace(inspection, levels=inspection.levels[1:]))] == [
        "gallery-0.2", "spectra", "decay", "bases"
    ]  # fmt: skip


def test_figures_show_the_means_and_the_value_of_the_inspected_image():
    inspection = gahbench.inspect("oracle-shrink[sym4]", dataset=SMALL, index=3, sigmas=[0.1], bases=["sym4"])
    (level,) = inspection.levels
    row = level.agreements(inspection.compared_index)["sym4"]
    values = level.compared["sym4"]["direction"][""]
    assert row.direction.value == pytest.approx(float(values.nanmean()), abs=1e-9)
    assert row.direction.low <= row.direction.value <= row.direction.high
    assert row.single == float(values[inspection.compared_index])


PIXELWISE = """
import gahbench
import torch

@gahbench.hookimpl
def register_references(register):
    register("pixelwise", Pixelwise)

def weights():
    falling = 1.2 * 0.9 ** torch.arange(2500.0)
    return falling[torch.randperm(2500, generator=torch.Generator().manual_seed(0))].reshape(50, 50)

class Pixelwise(gahbench.Reference):
    def denoise(self, noisy, sigma, truth):
        return noisy * weights()
"""


def test_large_images_have_their_first_eigenvectors_by_lanczos(tmp_path):
    (tmp_path / "pixelwise.py").write_text(PIXELWISE)
    ranks = [1, 7, 24]
    inspection = gahbench.inspect(
        "pixelwise", dataset="discs[size=50]", sigmas=[0.2], ranks=ranks, plugins=[tmp_path / "pixelwise.py"]
    )
    (level,) = inspection.levels
    # The Jacobian is diagonal: its eigenvectors are pixels.
    assert level.eigenvectors.shape == (24, 2500)
    np.testing.assert_allclose(level.eigenvalues, 1.2 * 0.9 ** np.arange(24), rtol=1e-4)
    assert (level.eigenvectors.abs().max(dim=1).values > 0.999).all()
    assert not level.compared
    notes = inspection.notes
    assert any("no direction or alignment: they need images of at most 2304 values" in note for note in notes)
    assert any(note.startswith("σ = 0.2: the first 24 of 2500 eigenvectors, by lanczos") for note in notes)
    assert [name for name, _ in figures(inspection)] == ["gallery-0.2", "spectra", "decay"]


@pytest.mark.parametrize(
    ("entrant", "settings", "message"),
    [
        ("low-pass", {"dataset": "discs[size=8]", "ranks": [3, 65]}, "ranks 65; accepted: 1 to 64"),
        ("low-pass", {"device": "tpu"}, "device=tpu"),
        ("low-pass", {"sigmas": [0.0]}, "input should be greater than 0"),
        ("low-pass", {"sigmas": 0.1}, "sigmas: input should be a valid list"),
        ("low-pass", {"others": 3}, "others=3; accepted: 23 to 63, or 0"),
        ("low-pass", {"index": -1}, "test image -1 requested; accepted: 0 to 23"),
        ("low-pass", {"dataset": "discs[size=8]", "bases": ["true-basis"]}, r"basis 'true-basis' on discs\[size=8\]"),
        ("lower-bound", {"dataset": "faces[size=8]"}, "not defined on a dataset whose optimum is 'none'"),
        ("tv", {"dataset": "discs[size=8]"}, "has no Jacobian"),
    ],
)
def test_invalid_arguments_raise(entrant, settings, message):
    with pytest.raises(GahbenchError, match=message):
        gahbench.inspect(entrant, **settings)


NAN_PLUGIN = """
def __init__(self, channels: int, brightest: float = 0.0):
    super().__init__()
    self.scale = nn.Parameter(torch.ones(()))
    self.brightest = brightest

def forward(self, noisy, sigma):
    # The detached mask keeps derivatives finite.
    is_nan = noisy.detach().mean(dim=(1, 2, 3), keepdim=True) > self.brightest
    return self.scale * noisy + torch.where(is_nan, torch.nan, 0.0)
"""


@pytest.mark.parametrize(("brightest", "count"), [(-9.0, "28 of 28"), (0.4, r"[1-9]\d? of 28")])
def test_a_network_that_returns_nan_raises(write_class, brightest, count):
    file = write_class("architecture", NAN_PLUGIN, "nan-at")
    settings = {"dataset": "discs[size=8]", "sigmas": [0.1], "plugins": [file]}
    with pytest.raises(GahbenchError, match=count + " denoised images have infinite or NaN values"):
        gahbench.inspect(f"untrained[nan-at[brightest={brightest}]]", **settings)
