"""The suite ``paper-weights`` on networks of random weights, in the folders of the published repository."""

import numpy as np
import pytest
import torch
from PIL import Image
from published_unet import PublishedUNet
from tiny_runs import plan_suite

import gahbench
from gahbench.planning.suite_files import suite_files

WIDTH = 2
NUMBERS = (1, 4, 16)
IMAGES = 40
ALPHAS = (1, 2, 3, 4, 5)
SIGMAS = (0.1, 0.5)
FACES = "UNet/img_align_celeba_80x80/0to255_RF_90x90_set_size_{}"
C_ALPHA = "UNet/C_alpha{0}_beta{0}_line_80x80_blurredx2/0to255_RF_90x90_set_size_100000"


def seed_of(number, is_partner):
    return 100 * number + is_partner


def save(network, folder):
    """Save a network as the published code does on a GPU."""
    folder.mkdir(parents=True)
    torch.save(torch.nn.DataParallel(network).state_dict(), folder / "model.pt")


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """Write the files of the user and the suite, for small networks, small sets and few images."""
    root = tmp_path / "paper-weights"
    for number in NUMBERS:
        for is_partner, ending in ((False, ""), (True, "_swapped")):
            save(PublishedUNet(WIDTH, seed=seed_of(number, is_partner)),
                 root / "denoisers" / (FACES.format(number) + ending))  # fmt: skip
    for alpha in ALPHAS:
        save(PublishedUNet(WIDTH, seed=alpha), root / "denoisers" / C_ALPHA.format(alpha))
    folder = root / "celeba" / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 12, 10, 3), dtype=np.uint8)
    for index, small in enumerate(pixels, start=1):
        # The size of CelebA.
        Image.fromarray(small).resize((178, 218), Image.Resampling.BICUBIC).save(folder / f"{index:06d}.png")
    monkeypatch.setenv("GAHBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    text = suite_files()["paper-weights"].read_text(encoding="utf-8")
    for old, new in (
        ("architecture: unet\n", f"architecture: unet[width={WIDTH}]\n"),
        ("[1, 10, 100, 1000, 10000, 99325]", str(list(NUMBERS))),
        ("sigmas: [0.004, 0.008, 0.016, 0.031, 0.063, 0.125, 0.25, 0.5, 1]", f"sigmas: {list(SIGMAS)}"),
        ("images: 128", "images: 3"),
        ("{count: 32, step: 0.01, beta: 0.1}", "{count: 2, step: 0.3, beta: 0.5}"),
    ):
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / "paper-weights.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.filterwarnings("ignore")
def test_the_suite_measures_the_published_networks_on_their_own_images(suite, tmp_path):
    only = ["unet*", "oracle-threshold[sym4]"]
    plan = plan_suite(suite, datasets=["faces*", "c-alpha[alpha=1,*", "c-alpha[alpha=5,*"], metrics=["psnr"], only=only)
    of_faces = {"oracle-threshold[sym4]", *(f"unet[faces] N={number}" for number in NUMBERS)}
    assert {(unit.dataset, unit.entrant) for unit in plan.units} == {
        *(("faces[CelebA]", entrant) for entrant in of_faces),
        *((f"c-alpha[alpha={alpha},size=80,construction=paper]", entrant)
          for alpha in (1, 5) for entrant in (f"unet[alpha={alpha}]", "oracle-threshold[sym4]")),
    }  # fmt: skip
    assert not plan.fits
    # Half A is the first images, half B the last ones.
    dataset = gahbench.create("dataset", 'published-halves[dataset="faces[path=paper-weights/celeba]"]')
    ordered = gahbench.create("dataset", "faces[path=paper-weights/celeba]")
    every = torch.cat([ordered.images(split, ordered.available(split)) for split in ("train", "validation", "test")])
    assert every.shape == (IMAGES, 1, 80, 80)
    assert torch.equal(dataset.images("A", 3), every[:3])
    assert torch.equal(dataset.images("B", 3), every[-3:].flip(0))
    file = tmp_path / "paper-weights" / "denoisers" / FACES.format(4) / "model.pt"
    reference = gahbench.create("reference", "pretrained", architecture=f"unet[{WIDTH}]", checkpoint=str(file))
    denoised = reference.denoise(every, 0.5, gahbench.Truth(torch.full_like(every, torch.nan)))
    with torch.no_grad():
        expected = every - PublishedUNet(WIDTH, seed=seed_of(4, False))(every)
    torch.testing.assert_close(denoised, expected, atol=1e-4, rtol=0)
    # Weights of another window would load too.
    assert reference.notes[0].endswith("trained with pool_window=2, which the file does not state")
