"""Images of users: files that cannot be used, frames of videos, and colours."""

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import plan_suite

import gahbench
from gahbench import create, run, score
from gahbench._util.errors import DataError
from gahbench.registry.registry import Registry
from gahbench.report.document import build_document
from gahbench.report.page.report import html_report
from gahbench_plugins.datasets._reading.files import describe
from gahbench_plugins.datasets._reading.splits import similar_neighbours

RNG = np.random.default_rng(0)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def noise(count=1, side=24):
    return RNG.integers(0, 256, (count, side, side), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Write twelve good files, and an unusable file of each kind."""
    path = tmp_path / "photos"
    path.mkdir()
    for number, image in enumerate(noise(12)):
        (path / f"good{number:02d}.png").write_bytes(png(image))
    (path / "truncated.png").write_bytes(png(noise()[0])[:-300])
    (path / "text.png").write_text("a text\n")
    (path / "deep.png").write_bytes(png(noise()[0].astype(np.uint16) * 257))
    (path / "tiny.png").write_bytes(png(noise(side=12)[0]))
    (path / "transparent.png").write_bytes(png(np.dstack([noise()[0]] * 4)))
    return path


UNUSABLE = {
    "deep.png": "an image of mode I;16; accepted: 8 bits per channel",
    "text.png": "cannot be read as an image: not an image of a known format",
    "tiny.png": "smaller than 16x16 pixels (size=16)",
    "truncated.png": "cannot be read as an image: ",
}


@pytest.mark.parametrize("name", ["images", "faces", "photos", "whole"])
def test_errors_name_all_unusable_files_and_the_option_to_skip_them(folder, name):
    spec = f"{name}[path={folder}]" if name == "whole" else f"{name}[path={folder},size=16]"
    with pytest.raises(DataError) as caught:
        gahbench.create("dataset", spec).shape  # noqa: B018
    text = str(caught.value)
    # The dataset ``whole`` accepts photographs of any size, so the tiny file is usable.
    unusable = {file: reason for file, reason in UNUSABLE.items() if name != "whole" or file != "tiny.png"}
    assert f"{len(unusable)} of 17 images cannot be used: " in text
    assert all(f"{file}: {reason}" in text for file, reason in unusable.items())
    # The spec that the error suggests works.
    advised = re.search(r"on_error=skip leaves them out, as in (\S+)$", text)[1]
    dataset = gahbench.create("dataset", advised)
    assert dataset.shape[0] == 1
    assert dataset.available("test") > 0
    assert dataset.notes[0].startswith(f"{len(unusable)} of 17 images cannot be used: ")
    assert dataset.notes[0].endswith("they are left out (on_error=skip)")


def test_skipping_files_does_not_change_other_images(folder):
    skipping = gahbench.create("dataset", f"images[path={folder},size=16,on_error=skip]")
    result = skipping.images("train", skipping.available("train"))
    fingerprint = skipping.fingerprint()
    for name in UNUSABLE:
        (folder / name).unlink()
    clean = gahbench.create("dataset", f"images[path={folder},size=16]")
    assert torch.equal(clean.images("train", clean.available("train")), result)
    assert clean.fingerprint() == fingerprint
    assert clean.notes == ()


@pytest.mark.parametrize("name", ["images", "photos", "whole"])
def test_a_source_without_any_usable_file_is_refused_though_files_are_skipped(tmp_path, name):
    (tmp_path / "a.png").write_text("a text")
    with pytest.raises(DataError, match=r"1 of 1 images cannot be used: a\.png"):
        gahbench.create("dataset", f"{name}[path={tmp_path},on_error=skip]").shape  # noqa: B018


def test_long_lists_of_files_are_cut():
    text = describe({f"{number}.png": "bad" for number in range(40)}, 50)
    assert text.startswith("40 of 50 images cannot be used: 0.png, 1.png, ")
    assert text.endswith("11.png: bad; and 28 more")


def test_previews_name_omitted_files(folder, command):
    status, out, _ = command("preview")(f"images[path={folder},size=16,on_error=skip]")
    assert status == 0
    assert " ".join(out.split()).count("4 of 17 images cannot be used") == 1


@pytest.mark.parametrize("name", ["images", "photos"])
def test_a_random_split_partitions_the_images_by_the_seed(tmp_path, name):
    # Each photograph has its own constant grey level, so that a patch shows its photograph.
    levels = np.arange(20, dtype=np.uint8) * 10
    images = np.broadcast_to(levels[:, None, None], (20, 16, 16))
    np.savez(tmp_path / "i.npz", images=images)

    def splits(**parameters):
        dataset = gahbench.create("dataset", name, path=str(tmp_path / "i.npz"), size=16, **parameters)
        held = {split: dataset.available(split) or 200 for split in ("train", "validation", "test")}
        return {
            split: sorted({round(255 * float(image.mean())) for image in dataset.images(split, count)})
            for split, count in held.items()
        }

    plain, mixed = splits(), splits(split="random")
    assert plain["test"] == levels[15:].tolist()
    assert sorted(level for result in mixed.values() for level in result) == levels.tolist()
    assert [len(result) for result in mixed.values()] == [len(result) for result in plain.values()]
    assert mixed["test"] != plain["test"]
    assert splits(split="random") == mixed
    assert splits(split="random", seed=1) != mixed


def frames(scenes, each, side=32, step=3):
    """Windows that move over smooth random scenes, such as frames of a video, shape (scenes * each, side, side)."""
    coarse = torch.from_numpy(RNG.random((scenes, 1, 12, 12))).float()
    wide = torch.nn.functional.interpolate(coarse, 2 * side, mode="bicubic").clamp(0, 1)[:, 0]
    result = [scene[at : at + side, at : at + side] for scene in wide for at in range(0, step * each, step)]
    return (255 * torch.stack(result)).byte().numpy()


@pytest.mark.parametrize("name", ["images", "photos"])
def test_consecutive_splits_of_similar_neighbours_raise_a_warning(tmp_path, name):
    video = frames(8, 6)
    np.savez(tmp_path / "video.npz", images=video)
    np.savez(tmp_path / "mixed.npz", images=video[RNG.permutation(len(video))])

    def notes(file, **parameters):
        dataset = gahbench.create("dataset", name, path=str(tmp_path / file), size=32, **parameters)
        return [note for note in dataset.notes if "neighbours look alike" in note]

    (note,) = notes("video.npz")
    assert "split=random has every scene in all splits" in note
    assert notes("video.npz", split="random") == []
    assert notes("mixed.npz") == []


@pytest.mark.parametrize("count", [2, 3, 10, 30, 300, 3000])
def test_images_in_random_order_have_no_similar_neighbours(count):
    for seed in range(10):
        assert similar_neighbours(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))) is None


def test_omitted_near_duplicates_are_counted(tmp_path):
    images = noise(10)
    np.savez(tmp_path / "i.npz", images=np.concatenate([images, images[:3]]))
    spec = f"images[path={tmp_path}/i.npz"
    (note,) = gahbench.create("dataset", f"{spec}]").notes
    assert note == "3 of 13 images are near duplicates and are left out (near_duplicates=drop)"
    assert gahbench.create("dataset", f"{spec},near_duplicates=keep]").notes == ()


SUITE = """
name: colours
datasets:
  - faces: {path: FACES, colour: rgb}
entrants:
  - unet: {width: 2, levels: 1}
  - identity
  - bayes-shrink
  - oracle-threshold: {basis: haar}
baseline: oracle-threshold[haar]
training: {steps: 4, batch_size: 4, compile: never, validations: 1, validation_images: 2}
scoring: {sigmas: [0.1, 0.3], images: 3, metrics: [psnr, ssim, slope]}
"""


def test_a_suite_in_colour_runs_to_the_end(tmp_path):
    np.savez(tmp_path / "faces.npz", images=np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8))
    file = tmp_path / "colours.yaml"
    file.write_text(SUITE.replace("FACES", str(tmp_path / "faces.npz")))
    outcome = run(file, tmp_path / "out", engine="inline")
    assert outcome.failed == 0
    board = outcome.leaderboard(full=True)
    assert board["dataset"].value_counts().to_dict() == {"faces[faces.npz,colour=rgb]": 4}
    assert board["psnr"].notna().all()
    # The identity leaves the noise: -20 log10 sigma, averaged over both noise levels.
    identity = board.set_index("entrant")["psnr"]["identity"]
    assert identity == pytest.approx(-10 * np.log10(0.1 * 0.3), abs=0.3)
    assert (tmp_path / "out" / "figures" / "gains.svg").is_file()


@pytest.fixture(params=["folder", "array"])
def pictures(request, tmp_path):
    """Return a function that writes pictures (N, H, W, C), and returns where they are."""

    def write(values):
        if request.param == "array":
            np.savez(tmp_path / "pictures.npz", images=values)
            return tmp_path / "pictures.npz"
        (tmp_path / "pictures").mkdir()
        for number, value in enumerate(values):
            Image.fromarray(value.squeeze()).save(tmp_path / "pictures" / f"{number}.png")
        return tmp_path / "pictures"

    return write


SAID = ("colour images are converted to grey (colour=mean); colour=rgb keeps their colours",)


@pytest.mark.parametrize("name", ["images", "faces", "photos", "whole"])
def test_notes_on_dropped_colours_name_the_parameter_that_keeps_them(pictures, name):
    path = str(pictures(np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)))
    for _ in range(2):  # The second time images come from the cache.
        assert create("dataset", name, path=path).notes == SAID
    assert create("dataset", "shuffled", dataset=f"{name}[{path}]").notes == SAID
    for colour in ("rgb", "luma"):
        assert create("dataset", name, path=path, colour=colour).notes == ()


@pytest.mark.parametrize("name", ["images", "photos", "whole"])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_pictures_have_no_note_on_colours(pictures, name, channels):
    grey = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 1), dtype=np.uint8)
    assert create("dataset", name, path=str(pictures(grey.repeat(channels, 3)))).notes == ()


@pytest.mark.usefixtures("figures_not_rendered")
def test_a_plan_warns_of_dropped_colours(tmp_path):
    np.savez(tmp_path / "mine.npz", images=np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8))
    file = tmp_path / "grey.yaml"
    file.write_text(
        "name: grey\ndatasets: [{whole: {path: mine.npz}}]\nentrants: [identity]\n"
        "scoring: {sigmas: [0.1], images: 2, metrics: [psnr]}\n"
    )
    with pytest.warns(UserWarning, match=r"grey.yaml: whole\[mine.npz\]: colour images are.*colour=rgb keeps"):
        plan_suite(file)
    with pytest.warns(UserWarning, match="colour images are converted"):
        run(file, tmp_path / "out", engine="inline")
    line = f"C{SAID[0][1:]}."
    assert line in (tmp_path / "out" / "leaderboard.md").read_text()
    # The note also appears for a model in memory, and on the page.
    result = score(lambda noisy, sigma: noisy, f"whole[{tmp_path}/mine.npz]", sigmas=[0.1], images=2, metrics=["psnr"])
    (section,) = build_document(result).datasets
    assert section.sentences[1:] == [line, "No intervals and no ranks: 2 images, and 5 are needed."]
    assert line in html_report(tmp_path / "out", Registry())
