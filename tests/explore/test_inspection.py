"""``gahbench.inspect`` and ``gahbench inspect``: eigenvectors of Jacobians, and comparison with bases."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gahbench
from gahbench._util.errors import DataError, GahbenchError, ParameterError
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench.explore.inspected_images import load_file_images
from gahbench.explore.inspection import BASES, OTHERS, figures
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
        assert level.compared["dct"][measure][""].tolist() == [0] * (1 + OTHERS)
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


def test_an_image_file_is_cut_into_squares_that_do_not_overlap(tmp_path):
    values = np.arange(60 * 50, dtype=np.uint16).reshape(60, 50)
    np.save(tmp_path / "image.npy", values)
    images = load_file_images(tmp_path / "image.npy", 10, False, 11)
    assert images.clean.shape == (12, 1, 10, 10)
    np.testing.assert_allclose(images.clean[0, 0].numpy() * 65535, values[25:35, 20:30], rtol=1e-5)
    assert len(images.clean.unique()) == 12 * 100
    assert len(load_file_images(tmp_path / "image.npy", None, False, 11).clean) == 1
    # Larger images are not compared with others.
    assert load_file_images(tmp_path / "image.npy", 30, True, 11).clean.shape == (1, 3, 30, 30)
    alone = gahbench.inspect("low-pass", image=tmp_path / "image.npy", size=25, sigmas=[0.1], bases=["dct"])
    assert alone.notes[0].startswith("no direction or alignment: they need at least 24 images, but image.npy")


def load_image(file, colour):
    """Load the central square of an image file."""
    return load_file_images(file, None, colour, 0).clean[0]


def test_images_are_scaled_to_the_range_0_to_1(tmp_path):
    colours = np.zeros((9, 7, 3), np.uint8)
    colours[..., 0], colours[..., 1] = 255, 51
    Image.fromarray(colours).save(tmp_path / "rgb.png")
    Image.fromarray(np.full((9, 7), 65535, np.uint16)).save(tmp_path / "deep.png")
    np.savez(tmp_path / "one.npz", images=np.full((3, 9, 7), 0.25))
    assert torch.allclose(load_image(tmp_path / "rgb.png", False), torch.full((1, 7, 7), 0.4))
    assert load_image(tmp_path / "rgb.png", True)[:, 0, 0].tolist() == pytest.approx([1, 0.2, 0])
    assert load_image(tmp_path / "deep.png", False).unique().tolist() == [1]
    assert load_image(tmp_path / "deep.png", True).shape == (3, 7, 7)
    assert load_image(tmp_path / "one.npz", False).unique().tolist() == [0.25]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((9, 9), 3.0), "values from 3 to 3; accepted: from 0 to 1"),
        (np.full((9, 9), np.nan), "accepted: from 0 to 1"),
        (np.zeros((9, 9), np.int64), "values of type int64; accepted: uint8"),
        (np.zeros((5, 9, 9), np.uint8), "accepted: an image"),
        (np.zeros((0, 9), np.uint8), "accepted: an image"),
    ],
)
def test_invalid_arrays_raise(tmp_path, values, message):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(DataError, match=message):
        load_image(tmp_path / "a.npy", False)


def test_files_that_are_not_images_raise(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(DataError, match=r"a\.png: cannot be read as an image: not an image of a known format"):
        load_image(tmp_path / "a.png", False)
    with pytest.raises(DataError, match="No such file"):
        load_image(tmp_path / "b.npy", False)


def test_an_image_file_can_be_inspected(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (58, 58), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    arguments = {"image": tmp_path / "noise.png", "size": 8, "sigmas": [0.1]}
    inspection = gahbench.inspect("oracle-shrink[sym4]", bases=["sym4"], others=31, **arguments)
    assert inspection.image == "noise.png, central 8×8 of 58×58 pixels"
    alignments = inspection.levels[0].compared["sym4"]["alignment"][""]
    np.testing.assert_allclose(alignments[~alignments.isnan()], 1, atol=1e-3)
    assert (~alignments.isnan()).sum() >= 24
    # Bases that need a dataset are left out for an image file.
    labels = set(gahbench.inspect("low-pass", **arguments, others=0).levels[0].coefficients)
    assert labels <= {"learned", *BASES, "bandlet[sym5]"}
    for entrant, settings, message in (
        ("lower-bound", {}, "its kind is 'bound', which needs a dataset"),
        ("low-pass", {"bases": ["true-basis"]}, "basis 'true-basis' on noise.png.*not defined on these images"),
        ("low-pass", {"index": 1}, "accepted for an image file: 0"),
        ("low-pass", {"size": 59}, "58x58 pixels: 1 to 58"),
    ):
        with pytest.raises(GahbenchError, match=message):
            gahbench.inspect(entrant, **arguments | settings)


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


@pytest.fixture
def call(command):
    return command("inspect")


def test_the_command_prints_tables_and_writes_figures(call):
    bases = ("-b", "dct", "-b", "graph-laplacian[hr=0.2]")
    status, printed, stderr = call("low-pass[.25]", "-d", SMALL, "-s", "25/255,0.2", *bases)
    assert status == 0, stderr
    lines = [line.split() for line in printed.splitlines()]
    assert lines[0] == ["low-pass[share=0.25]", "on", "c-alpha[alpha=2,size=8],", "test", "image", "0"]
    (scores,) = [line for line in lines if line[:2] == ["0.2", "13.98"]]
    assert scores[3:9] == ["16.0", "16", "1.000", "0.000", "0.000", "0.000"]
    assert ["0.2", "0.000", "0.000", "0.000"] in lines
    assert "graph-laplacian[hr=0.2]" in printed
    folder = Path("inspect-low-pass_share=0.25")
    assert printed.splitlines()[-1].endswith(f"alignment.png to {folder}/")
    names = ["gallery-0.09804.png", "gallery-0.2.png", "spectra.png", "decay.png"]
    settings = {"dataset": SMALL, "sigmas": [25 / 255, 0.2], "bases": bases[1::2]}
    files = gahbench.inspect("low-pass[.25]", **settings).save("same")
    assert [file.name for file in files] == [*names, "bases.png", "direction.png", "alignment.png"]
    assert len(list(folder.iterdir())) == len(files)
    assert all((folder / file.name).read_bytes() == file.read_bytes() for file in files)
    not_compared = gahbench.inspect("low-pass[.25]", **settings, others=0)
    assert [f"{name}.png" for name, _ in figures(not_compared, ranks=[1, 4])] == names
    assert not_compared.notes == ()


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
        (
            "low-pass",
            {"dataset": "discs[size=260]"},
            "= 67600 values are too large; accepted with 1 channel: up to 256x256",
        ),
        ("low-pass", {"dataset": "discs[size=8]", "ranks": [3, 65]}, "ranks 65; accepted: 1 to 64"),
        ("low-pass", {"device": "tpu"}, "device=tpu"),
        ("low-pass", {"sigmas": [0.0]}, "sigma=0; accepted: finite noise levels greater than 0"),
        ("low-pass", {"others": 3}, "others=3; accepted: 23 to 63, or 0"),
        ("low-pass", {"size": 8}, "belong to an image file"),
        ("low-pass", {"image": "gone.png"}, "gone.png: cannot be read as an image: No such file"),
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
    with pytest.raises(GahbenchError, match=count + " denoised images have infinite or NaN values; accepted"):
        gahbench.inspect(f"untrained[nan-at[brightest={brightest}]]", **settings)
