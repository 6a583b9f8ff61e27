"""Published weights whose training images are known: rows by number of images, halves and partners.

The suite ``paper-weights`` is planned for networks of random weights in the folders of the published repository.
"""

import math
import re

import numpy as np
import pytest
import torch
from PIL import Image
from published_unet import PublishedUNet
from safetensors.torch import save_file
from tiny_runs import plan_suite

import gahbench
from gahbench._util.errors import ParameterError, SuiteError
from gahbench.board.generalization import find_sweeps, sweep_curves
from gahbench.evaluation import Evaluation
from gahbench.networks.trained import Trained
from gahbench.planning.suite_files import suite_files

NUMBERS = (1, 3, 8)
SUITE = """
name: weights
datasets: [faces]
entrants:
  - pretrained:
      architecture: bf-cnn[width=4,layers=3]
      checkpoint: nets/{N}/model.safetensors
      partner: nets/{N}_swapped/model.safetensors
      train_images: [1, 3, 8]
      label: published
  - identity
baseline: identity
scoring:
  sigmas: [0.1, 0.4]
  images: 4
  splits: [test, train]
  sampling: {count: 3, step: 0.5}
  metrics: [METRICS]
"""
METRICS = (
    "psnr, model-variance, generalization-gap, own-half, pair-cosine, closest-training, memorization, score-agreement"
)


def network(seed):
    torch.manual_seed(seed)
    result = gahbench.create("architecture", "bf-cnn", width=4, layers=3).eval()
    # The last layer of an untrained network is close to 0.
    result.layers[-1].weight.data.mul_(30)
    return result


def seed_of(number, is_partner):
    return 100 * number + is_partner


@pytest.fixture
def write(tmp_path, write_suite):
    for number in NUMBERS:
        for is_partner, ending in ((False, ""), (True, "_swapped")):
            folder = tmp_path / "nets" / f"{number}{ending}"
            folder.mkdir(parents=True)
            save_file(network(seed_of(number, is_partner)).state_dict(), folder / "model.safetensors")

    def write(*changes):
        return write_suite(*changes, text=SUITE.replace("METRICS", METRICS))

    return write


def test_published_weights_have_a_row_for_each_number_of_training_images(write):
    plan = plan_suite(write())
    assert plan.board["entrants"] == [*(f"published N={number}" for number in NUMBERS), "identity"]
    assert not plan.fits
    for unit in plan.units:
        if unit.entrant == "published N=3":
            assert unit.payload["learned_from"] == {"split": "A", "count": 3}
            assert unit.payload["partner_learned_from"] == {"split": "B", "count": 3}
            if unit.split == "train":
                assert (unit.payload["split"], unit.payload["images"]) == ("A", 3)
    # The identity has no partner.
    assert all(unit.metric != "model-variance" for unit in plan.units if unit.entrant == "identity")
    assert len({unit.key for unit in plan.units}) == len(plan.units)


@pytest.mark.usefixtures("figures_not_rendered")
def test_metrics_compare_each_row_with_its_images_and_its_partner(write, tmp_path):
    gahbench.run(write(), out=tmp_path / "run", engine="inline")
    results = gahbench.load_results(tmp_path / "run")
    dataset = gahbench.create("dataset", "faces")

    def evaluate(number, is_partner, split, images):
        denoiser = Trained(network(seed_of(number, is_partner)))
        return Evaluation(denoiser, dataset.images(split, images), [0.1, 0.4], split=split, dataset=dataset)

    for number in NUMBERS:
        scores = results.scores[results.scores["entrant"] == f"published N={number}"]

        def values(metric, split, sigma, scores=scores):
            rows = scores[(scores["metric"] == metric) & (scores["split"] == split) & (scores["sigma"] == sigma)]
            return torch.tensor(rows.sort_values("image")["value"].to_numpy())

        for sigma in (0.1, 0.4):
            pair = [evaluate(number, is_partner, "test", 4).denoised(sigma) for is_partner in (False, True)]
            square = (pair[0] - pair[1]).double().square().mean((1, 2, 3))
            assert torch.allclose(values("model-variance.square", "test", sigma), square, rtol=1e-4)
            # The network is scored on the images that it learned from, the first of half A.
            train = evaluate(number, False, "A", min(number, 4))
            error = (train.denoised(sigma) - train.clean).double().square().mean((1, 2, 3))
            psnr = values("psnr", "train", sigma)
            assert len(psnr) == min(number, 4)
            assert torch.allclose(psnr, -10 * error.log10(), atol=1e-3)
        measured = {name.partition(".")[0] for name in scores["metric"]}
        assert measured == set(METRICS.split(", "))
    assert find_sweeps(results) == [("faces", "published")]
    curves = sweep_curves(results, "faces", "published", "psnr")
    assert list(curves) == list(NUMBERS)
    assert list(curves[3]) == [0.1, 0.4]


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("train_images: [1, 3, 8]", "train_images: [1, 2, 8]", "nets/2/model"),
        ("{N}_swapped", "{N}_other", "partner="),
        ("      train_images: [1, 3, 8]\n", "", "partner needs 'train_images'"),
        ("[1, 3, 8]", "[1, 3, 3]", "train_images"),
        ("nets/{N}/", "nets/1/", "checkpoint needs {N}"),
        ("label:", "half: train\n      label:", "partner needs half"),
    ],
)
def test_invalid_training_images_are_refused(write, old, new, name):
    with pytest.raises(SuiteError) as error:
        plan_suite(write((old, new)))
    assert name in str(error.value)


def test_outside_a_suite_one_number_is_needed(write, tmp_path):
    write()
    given = {"architecture": "bf-cnn[width=4,layers=3]", "checkpoint": str(tmp_path / "nets/{N}/model.safetensors")}
    several = gahbench.create("reference", "pretrained", **given, train_images=[1, 3])
    truth = gahbench.Truth(torch.full((2, 1, 8, 8), math.nan))
    noisy = torch.rand(2, 1, 8, 8)
    with pytest.raises(ParameterError, match="accepted outside a suite: a single number, such as train_images=1"):
        several.denoise(noisy, 0.1, truth)
    several.select_weights("A", 3)
    with torch.no_grad():
        expected = network(seed_of(3, False))(noisy, torch.ones(2))
    assert torch.allclose(several.denoise(noisy, 0.1, truth), expected, atol=1e-6)
    assert re.match(r"weights from 3/model.safetensors \(SHA-256", several.notes[0])
    single = gahbench.create("reference", "pretrained", **given, train_images=3)
    assert torch.allclose(single.denoise(noisy, 0.1, truth), expected, atol=1e-6)


WIDTH = 2
FACES = "UNet/img_align_celeba_80x80/0to255_RF_90x90_set_size_{}{}"
C_ALPHA = "UNet/C_alpha{0}_beta{0}_line_80x80_blurredx2/0to255_RF_90x90_set_size_100000"


@pytest.fixture
def denoisers(tmp_path, monkeypatch):
    """Write the files of the user in the working folder, and return the folder of the networks."""
    monkeypatch.chdir(tmp_path)
    faces, folder = tmp_path / "paper-weights/celeba/celeba/img_align_celeba", tmp_path / "paper-weights/denoisers"
    faces.mkdir(parents=True)
    # The size of CelebA.
    images = np.random.default_rng(0).integers(0, 256, (20, 218, 178, 3), dtype=np.uint8)
    for index, image in enumerate(images, start=1):
        Image.fromarray(image).save(faces / f"{index:06d}.png", compress_level=0)
    pairs = [FACES.format(number, ending) for number in NUMBERS for ending in ("", "_swapped")]
    for name in (*pairs, *map(C_ALPHA.format, range(1, 6))):
        (folder / name).mkdir(parents=True)
        # The published code saves networks on a GPU like this.
        torch.save(torch.nn.DataParallel(PublishedUNet(WIDTH)).state_dict(), folder / name / "model.pt")
    return folder


@pytest.mark.filterwarnings("ignore")
def test_paper_weights_plans_the_published_networks_on_their_own_images(denoisers, write_suite):
    text = suite_files()["paper-weights"].read_text(encoding="utf-8")
    smaller = ("architecture: unet\n", f"architecture: unet[width={WIDTH}]\n"), ("images: 128", "images: 3")
    suite = write_suite(*smaller, ("[1, 10, 100, 1000, 10000, 99325]", str(list(NUMBERS))), text=text)
    only = ["unet*", "oracle-threshold[sym4]"]
    plan = plan_suite(suite, datasets=["faces*", "c-alpha[alpha=1,*", "c-alpha[alpha=5,*"], metrics=["psnr"], only=only)
    of_faces = {"oracle-threshold[sym4]", *(f"unet[faces] N={number}" for number in NUMBERS)}
    assert {(unit.dataset, unit.entrant) for unit in plan.units} == {
        *(("faces[CelebA]", entrant) for entrant in of_faces),
        *((f"c-alpha[alpha={alpha},size=80,construction=paper]", entrant)
          for alpha in (1, 5) for entrant in (f"unet[alpha={alpha}]", "oracle-threshold[sym4]")),
    }  # fmt: skip
    assert not plan.fits
    file = denoisers / FACES.format(3, "") / "model.pt"
    reference = gahbench.create("reference", "pretrained", architecture=f"unet[{WIDTH}]", checkpoint=str(file))
    noisy = torch.zeros(1, 1, 80, 80)
    reference.denoise(noisy, 0.5, gahbench.Truth(noisy))
    # Weights of another window would load too.
    assert reference.notes[0].endswith("trained with pool_window=2, which the file does not state")
