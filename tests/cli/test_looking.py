"""The commands ``preview``, ``inspect`` and ``sample``: what they print, and the files that they write."""

from pathlib import Path

import numpy as np
from PIL import Image

import gahbench
from gahbench.explore.preview import contact_sheet
from gahbench.report.drawing import encode
from gahbench.sampling import Sampling

FINITE = "finite[discs[size=8],count=4]"
BROKEN = "def denoise(self, noisy, sigma, truth):\n    return 100 * noisy"


def test_preview_prints_a_card_and_writes_a_sheet(command, families):
    arguments = ("-p", families.file, "--sigma", "0.1,0.3", "-s", "0.2", "--split", "A", "--start", 1, "--count", 2)
    status, printed, _ = command("preview")("files", *arguments)
    assert status == 0
    assert printed.splitlines()[0] == f"dataset files  ({families.file})"
    preview = families.preview("files", [0.1, 0.3, 0.2], split="A", start=1, count=2)
    lines = " ".join(printed.split())
    # Labels in a card, such as [bold], are no markup.
    assert all(f"{name} {' '.join(fact.split())}" in lines for name, fact in preview.card.items())
    assert printed.endswith("wrote preview-files.png\n")
    assert Path("preview-files.png").read_bytes() == encode(contact_sheet(preview), ".png")


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


def test_sample_writes_a_sheet_and_arrays_with_all_settings(command):
    settings = ("--set", "count=5", "--set", "sampler=flow", "--set", "levels=3", "--set", "solver=euler")
    status, printed, stderr = command("sample")("optimal", "-d", FINITE, *settings, "--set", "seed=3", "--out", "here")
    assert status == 0, stderr
    given = Sampling(count=5, sampler="flow", levels=3, solver="euler", seed=3)
    same = gahbench.sample("optimal", dataset=FINITE, **given.model_dump(exclude_unset=True))
    assert str(same) in printed
    with np.load("here/samples.npz") as saved:
        np.testing.assert_array_equal(saved["images"], same.images)
        assert Sampling.model_validate_json(str(saved["settings"])) == given
    with Image.open("here/samples.png") as sheet:
        assert sheet.width > 5 * 240


def test_sample_fails_if_all_samples_diverge(command, write_class):
    file = write_class("reference", BROKEN, "explodes")
    status, printed, stderr = command("sample")("explodes", "-d", "discs[size=8]", "-p", file, "--set", "count=3")
    assert status == 1, stderr
    assert "3 diverged" in printed
    assert Path("sample-explodes/samples.npz").is_file()
