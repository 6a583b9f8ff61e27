"""The commands ``preview``, ``inspect`` and ``sample``: what they print, and the files that they write."""

from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gahbench
from gahbench.cli.options import help_of
from gahbench.explore.preview import contact_sheet
from gahbench.report.drawing import encode
from gahbench.sampling import Sampling

FINITE = "finite[discs[size=8],count=4]"
BROKEN = """
def __init__(self, factor: float = 100.0):
    self.factor = factor

def denoise(self, noisy, sigma, truth):
    return self.factor * noisy
"""


def test_preview_prints_a_card_and_writes_a_sheet(command, families):
    arguments = ("-p", families.file, "--sigma", "0.1,0.3", "-s", "0.2", "--split", "A", "--start", 2, "--count", 2)
    status, printed, _ = command("preview")("white[spread=0.2]", *arguments)
    assert status == 0
    assert printed.splitlines()[0] == f"dataset white[spread=0.2]  ({families.file})"
    preview = families.preview("white[spread=0.2]", [0.1, 0.3, 0.2], split="A", start=2, count=2)
    lines = " ".join(printed.split())
    assert all(f"{name} {' '.join(fact.split())}" in lines for name, fact in preview.card.items())
    assert printed.endswith("wrote preview-white_spread=0.2.png\n")
    assert [file.name for file in Path().iterdir()] == ["preview-white_spread=0.2.png"]
    assert Path("preview-white_spread=0.2.png").read_bytes() == encode(contact_sheet(preview), ".png")


def test_labels_in_a_card_are_no_markup(command, families):
    printed = command("preview")("files", "-p", families.file)[1]
    assert "[bold]Nowhere[/bold]" in printed


def test_inspect_prints_the_numbers_of_its_figures(command):
    bases = ("-b", "dct", "-b", "graph-laplacian[hr=0.2]")
    dataset = "c-alpha[size=8]"
    status, printed, stderr = command("inspect")("low-pass[.25]", "-d", dataset, "-s", "25/255,0.2", "-k", "3", *bases)
    assert status == 0, stderr
    lines = [line.split() for line in printed.splitlines()]
    assert lines[0] == ["low-pass[share=0.25]", "on", "c-alpha[alpha=2,size=8],", "test", "image", "0"]
    inspection = gahbench.inspect("low-pass[.25]", dataset=dataset, sigmas=[25 / 255, 0.2], bases=bases[1::2])
    level = inspection.levels[1]
    noisy = -10 * np.log10(float((level.noisy.double() - inspection.clean.double()).square().mean()))
    # The PSNR of the noisy image is the one in its title, not the nominal 13.98 dB.
    (scores,) = [line for line in lines if line[:2] == ["0.2", f"{noisy:.1f}"]]
    assert scores[2:] == [f"{level.scores['psnr']:.1f}", "16.0", "16", "1.000", "0.000", "0.000", "0.000", *scores[9:]]
    assert scores[-1] == "1.000"
    for name, row in level.agreements(inspection.compared_index).items():
        (cells,) = [line for line in lines if line[:1] == ["0.2"] and line[1 : 1 + len(name.split())] == name.split()]
        assert cells[1 + len(name.split())] == f"{row.single:.3f}"
    folder = Path("inspect-low-pass_share=0.25")
    assert printed.splitlines()[-1].endswith(f"bases.png to {folder}/")
    assert {file.name for file in folder.iterdir()} == {
        "gallery-0.09804.png", "gallery-0.2.png", "spectra.png", "decay.png", "bases.png"
    }  # fmt: skip


def test_inspect_writes_a_pdf(command):
    arguments = ("low-pass", "-d", "discs[size=8]", "-s", "0.1", "--others", "0", "-o", "eig.pdf")
    assert command("inspect")(*arguments)[0] == 0
    assert Path("eig.pdf").read_bytes().startswith(b"%PDF")
    status, _, stderr = command("inspect")(*arguments[:-1], "eig.png")
    assert (status, "accepted: a folder, or a .pdf file" in stderr) == (2, True)


def test_sample_writes_a_sheet_and_arrays(command):
    status, printed, stderr = command("sample")("optimal", "-d", FINITE, "-n", 5, "--seed", 3, "--out", "here")
    assert status == 0, stderr
    same = gahbench.sample("optimal", dataset=FINITE, count=5, seed=3)
    assert printed.splitlines() == [f"optimal for {FINITE}: {same}; seed 3", "wrote samples.png, samples.npz to here/"]
    with np.load("here/samples.npz") as saved:
        np.testing.assert_array_equal(saved["images"], same.images)
        assert str(saved["source"]) == f"optimal\nfor {FINITE}"
    with Image.open("here/samples.png") as sheet:
        assert sheet.width > 5 * 240


def test_sample_accepts_all_settings(command):
    settings = ("--sampler", "flow", "--set", "levels=[4,1,0.1]", "--set", "solver=euler")
    status, _, stderr = command("sample")("optimal", "-d", FINITE, "-n", 2, *settings)
    assert status == 0, stderr
    with np.load("sample-optimal/samples.npz") as saved:
        settings = Sampling.model_validate_json(str(saved["settings"]))
    assert (settings.levels, settings.solver) == ((4.0, 1.0, 0.1), "euler")
    status, _, stderr = command("sample")("optimal", "-d", FINITE, "--set", "bta=1")
    assert (status, "did you mean 'beta'" in stderr) == (2, True)


def test_sample_fails_if_all_samples_diverge(command, write_class):
    file = write_class("reference", BROKEN, "explodes")
    status, printed, stderr = command("sample")("explodes", "-d", "discs[size=8]", "-p", file, "-n", 3)
    assert status == 1, stderr
    assert "3 diverged" in printed
    assert Path("sample-explodes/samples.npz").is_file()
    weak = ("explodes[factor=0.9]", "-d", "discs[size=8]", "-p", file, "-n", 3, "--set", "max_steps=4")
    status, printed, stderr = command("sample")(*weak)
    assert status == 0, stderr
    assert "3 out of steps" in printed
    assert "the noise did not fall to 0.05 in 4 steps" in printed


@pytest.mark.parametrize("function", ["inspection:inspect", "preview:preview", "sample:sample", "scored:score"])
def test_help_describes_every_parameter_with_its_default(function):
    parameters = signature(getattr(gahbench, function.partition(":")[2])).parameters
    for name, parameter in parameters.items():
        text = help_of(f"gahbench.explore.{function}", name)
        assert text[0].isupper()
        assert "`" not in text
        if isinstance(parameter.default, int | str) and not isinstance(parameter.default, bool):
            assert text.endswith(f"[default: {parameter.default}]")


def test_help_of_a_class_has_the_defaults_of_its_fields():
    text = help_of("gahbench.sampling.settings:Sampling", "sigma_end")
    assert text.endswith(f"in [0, 1]. [default: {Sampling().sigma_end}]")
