"""Pairs and bursts of recorded images: what is read, which noise level is found, and what is refused."""

import io

import numpy as np
import pytest
import tifffile
import torch
from deep_colours import DEEP_COLOURS
from PIL import Image

import gahbench
from gahbench._util.errors import DataError, ParameterError
from gahbench.registry.registry import Registry
from gahbench.testing import check_configured
from gahbench_plugins.datasets.captures import Captures

SIDE = 48


def scenes(count=3, shape=(SIDE, SIDE)):
    """Return smooth images in [0.2, 0.8]."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] / SIDE
    return [0.5 + 0.3 * np.sin(3 * rows + index) * np.cos(4 * columns) for index in range(count)]


def noise(seed, sigma, shape=(SIDE, SIDE)):
    return np.random.default_rng(seed).normal(0, sigma, shape)


def write_array(path, **arrays):
    np.savez(path / "captures.npz", **{name: np.asarray(value) for name, value in arrays.items()})
    return str(path / "captures.npz")


def write_folder(folder, images, suffix=".png"):
    """Write images, uint8 or uint16 or float32, by name."""
    folder.mkdir(parents=True)
    for name, pixels in images.items():
        if suffix == ".tif":
            tifffile.imwrite(folder / f"{name}.tif", pixels)
        else:
            Image.fromarray(pixels).save(folder / f"{name}{suffix}")


def grey(image, white=255, dtype=np.uint8):
    return (image * white).clip(0, white).round().astype(dtype)


def write_pairs(path, sigma=0.1, **noisy_images):
    """Write three pairs; keywords replace noisy images, or leave them out if they are None."""
    clean = {f"p{index}": scene for index, scene in enumerate(scenes())}
    noisy = {name: scene + noise(index, sigma) for index, (name, scene) in enumerate(clean.items())}
    noisy = {name: image for name, image in {**noisy, **noisy_images}.items() if image is not None}
    write_folder(path / "clean", {name: grey(image) for name, image in clean.items()})
    write_folder(path / "noisy", {name: grey(image) for name, image in noisy.items()})
    return str(path)


def test_pairs_of_a_folder_and_of_an_array_are_the_same(tmp_path):
    clean = [grey(scene) for scene in scenes()]
    noisy = [grey(scene + noise(index, 0.1)) for index, scene in enumerate(scenes())]
    from_folder = Captures(write_pairs(tmp_path / "pairs"))
    from_array = Captures(write_array(tmp_path, clean=clean, noisy=noisy))
    assert from_folder.fingerprint() == from_array.fingerprint()
    assert np.allclose(255 * from_folder.images("test", 3)[:, 0], clean)
    captured = from_folder.captured(3)
    assert np.allclose(255 * captured.noisy[:, 0], noisy)
    assert captured.sigma.numpy() == pytest.approx(
        [np.sqrt(np.mean((a / 255.0 - b / 255.0) ** 2)) for a, b in zip(clean, noisy, strict=True)]
    )
    assert not captured.reference_variance.any()


@pytest.mark.parametrize(
    ("dtype", "white", "suffix", "parameters"),
    [
        (np.uint8, 255, ".tif", {}),
        (np.uint16, 65535, ".tif", {}),
        (np.uint16, 65535, ".png", {}),
        (np.uint16, 4095, ".tif", {"white": 4095}),
        (np.float32, 1, ".tif", {}),
        (np.float32, 300, ".tif", {"white": 300}),
        (np.float64, 1, ".tif", {}),
    ],
)
def test_files_of_8_to_16_bits_and_floats_have_the_same_intensities(tmp_path, dtype, white, suffix, parameters):
    scene = scenes(1)[0]
    images = [
        (image * white).astype(dtype) if dtype in (np.float32, np.float64) else grey(image, white, dtype)
        for image in (scene, scene + noise(0, 0.05))
    ]
    for name, image in zip(("clean", "noisy"), images, strict=True):
        write_folder(tmp_path / name, {"a": image}, suffix)
    captures = Captures(str(tmp_path), **parameters)
    rounding = 0.5 / white if white > 1 else 1e-6
    assert np.abs(captures.images("test", 1)[0, 0].numpy() - scene).max() <= rounding + 1e-6
    assert float(captures.captured(1).sigma) == pytest.approx(0.05, rel=0.05)


def test_colour_tiff_of_16_bits_and_its_grey_versions(tmp_path):
    colours = np.stack([0.2 + 0.5 * scene for scene in scenes(3)], 2)
    for name, extra in (("clean", 0.0), ("noisy", noise(0, 0.05, colours.shape))):
        write_folder(tmp_path / name, {"a": grey(colours + extra, 65535, np.uint16)}, ".tif")
    rgb, mean, luma = (
        Captures(str(tmp_path), colour=colour).images("test", 1)[0].numpy() for colour in ("rgb", "mean", "luma")
    )
    assert np.allclose(rgb, colours.transpose(2, 0, 1), atol=1e-4)
    assert np.allclose(mean[0], colours.mean(2), atol=1e-4)
    assert np.allclose(luma[0], colours @ [0.299, 0.587, 0.114], atol=1e-4)
    assert any("colour=mean" in note for note in Captures(str(tmp_path)).notes)


def test_black_is_subtracted_and_values_beyond_black_and_white_are_kept(tmp_path):
    clean = np.linspace(64, 1023, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint16)
    noisy = (clean + 50 * np.where(np.arange(SIDE) % 2, 1, -1)).astype(np.uint16)
    captures = Captures(write_array(tmp_path, clean=[clean], noisy=[noisy]), black=64, white=1023)
    images, captured = captures.images("test", 1), captures.captured(1)
    assert (images.min(), images.max()) == (0, 1)
    assert captured.noisy.min() < -0.04
    assert captured.noisy.max() > 1.04
    assert float(captured.sigma) == pytest.approx(50 / (1023 - 64))


def test_the_variance_that_is_left_in_the_mean_of_a_burst_is_counted(tmp_path):
    # The estimates are means over 9216 pixels, whose standard errors are about 1 %.
    sigma, captures, scene = 0.1, 5, scenes(1, (96, 96))[0]
    bursts = [[scene + noise((burst, k), sigma, scene.shape) for k in range(captures)] for burst in range(4)]
    captured = Captures(write_array(tmp_path, bursts=bursts)).captured(4)
    assert captured.sigma.numpy() == pytest.approx(sigma, rel=0.05)
    assert captured.reference_variance.numpy() == pytest.approx(sigma**2 / (captures - 1), rel=0.05)


def test_bursts_of_a_folder(tmp_path):
    for index, scene in enumerate(scenes()):
        frames = {f"{k}": grey(scene + noise((index, k), 0.1)) for k in range(4)}
        write_folder(tmp_path / f"scene{index}", frames)
    captures = Captures(str(tmp_path))
    first = np.asarray(Image.open(tmp_path / "scene0" / "0.png"))
    others = [np.asarray(Image.open(tmp_path / "scene0" / f"{k}.png")) / 255 for k in (1, 2, 3)]
    assert captures.available("test") == 3
    assert np.allclose(255 * captures.captured(1).noisy[0, 0], first)
    assert np.allclose(captures.images("test", 1)[0, 0], np.mean(others, 0), atol=1e-6)


def test_a_robust_noise_level_ignores_outliers_and_a_given_noise_level_is_used(tmp_path):
    clean = scenes(1)[0]
    noisy = clean + noise(0, 0.02)
    noisy[::12, ::12] = 1  # hot pixels
    path = write_array(tmp_path, clean=[clean], noisy=[noisy])
    rms, robust, given = (float(Captures(path, sigma=rule).captured(1).sigma) for rule in ("rms", "robust", 0.3))
    assert rms > 0.04
    assert robust == pytest.approx(0.02, rel=0.1)
    assert given == 0.3


def test_squares_are_cut_from_all_pairs_and_keep_their_source(tmp_path):
    captures = Captures(write_pairs(tmp_path), size=16)
    assert captures.available("test") == 3 * 9
    assert captures.images("test", 27).shape == (27, 1, 16, 16)
    sources = captures.sources("test", 27)
    assert sorted(sources) == sorted([*range(3)] * 9)
    assert len(set(sources[:9])) == 3
    whole = Captures(str(tmp_path)).images("test", 3)
    squares = whole.unfold(2, 16, 16).unfold(3, 16, 16).reshape(-1, 16, 16)
    assert all(any(torch.equal(image[0], square) for square in squares) for image in captures.images("test", 27))


def test_images_of_several_sizes_are_one_set(tmp_path):
    write_folder(tmp_path / "clean", {f"{i}": grey(scenes(1, (32, 32 + 8 * (i % 2)))[0]) for i in range(4)})
    write_folder(
        tmp_path / "noisy",
        {f"{i}": grey(scenes(1, (32, 32 + 8 * (i % 2)))[0] + noise(i, 0.1, (32, 32 + 8 * (i % 2)))) for i in range(4)},
    )
    report = check_configured(Registry().configure("dataset", f"captures[path={tmp_path}]"))
    assert report.passed, str(report)
    assert Captures(str(tmp_path)).shapes(3) == [(1, 32, 32), (1, 32, 40), (1, 32, 32)]


def test_the_contract_is_kept(tmp_path):
    report = check_configured(Registry().configure("dataset", f"captures[path={write_pairs(tmp_path)}]"))
    assert report.passed, str(report)


FLAT, LARGE = np.full((SIDE, SIDE), 0.5), scenes(1, (SIDE, SIDE + 2))[0]


@pytest.mark.parametrize(
    ("noisy", "reason"),
    [
        ({"p1": None}, "p1: no noisy image of this name"),
        ({"extra": FLAT}, "extra: no clean image of this name"),
        ({"p1": LARGE}, "p1: the clean image has 48x48 pixels and the noisy image 48x50"),
        ({"p1": FLAT}, "p1: the noisy image is constant"),
        ({"p1": scenes()[1]}, "p1: the noisy image equals the clean image"),
    ],
)
def test_pairs_that_cannot_be_used_are_named_and_the_others_are_kept_on_request(tmp_path, noisy, reason):
    path = write_pairs(tmp_path, **noisy)
    with pytest.raises(DataError, match=f"1 of [34] images cannot be used: {reason}") as caught:
        Captures(path).images("test", 1)
    assert "\n" not in str(caught.value)
    kept = Captures(path, on_error="skip")
    assert kept.available("test") == 2 + ("extra" in noisy)
    assert any(reason in note for note in kept.notes)


def test_exchanged_and_wrongly_scaled_images_are_refused(tmp_path):
    clean = np.array(scenes())
    noisy = clean + noise(0, 0.1, clean.shape)
    with pytest.raises(DataError, match=r"3 of 3 images cannot be used: .*the clean image is noisier"):
        Captures(write_array(tmp_path, clean=noisy, noisy=clean)).images("test", 1)
    with pytest.raises(DataError, match=r"its noise level is 2.* above 1, but images lie in \[0, 1\]; set 'black'"):
        Captures(write_array(tmp_path, clean=clean, noisy=clean + noise(0, 2.5, clean.shape))).images("test", 1)
    with pytest.raises(DataError, match=r"the clean image has values from 51 to 204, outside of \[0, 1\]; set 'black'"):
        Captures(write_array(tmp_path, clean=255 * clean, noisy=255 * noisy)).images("test", 1)
    with pytest.raises(DataError, match="pixels that are infinite or NaN"):
        Captures(write_array(tmp_path, clean=clean, noisy=np.where(noisy > 0.9, np.nan, noisy))).images("test", 1)
    with pytest.raises(DataError, match="the clean image is constant"):
        Captures(write_array(tmp_path, clean=[FLAT], noisy=noisy[:1])).images("test", 1)


def test_clipping_gamma_and_compression_are_not_taken_for_exchanged_images(tmp_path):
    clean = scenes(1)[0] + noise(5, 0.08)  # texture
    buffer = io.BytesIO()
    Image.fromarray(grey(clean + noise(0, 0.05))).save(buffer, "JPEG", quality=20)
    compressed = np.asarray(Image.open(buffer)) / 255
    dark = np.clip(0.1 * clean, 0, 1)
    for pair in ((clean, compressed), (dark**0.45, np.clip(dark + noise(1, 0.05), 0, 1) ** 0.45)):
        assert Captures(write_array(tmp_path, clean=pair[:1], noisy=pair[1:])).available("test") == 1


@pytest.mark.parametrize(
    ("layout", "problem"),
    [
        ("missing", "no such folder; accepted: a folder with the folders clean and noisy"),
        ("clean", "has the folder 'clean', but no folder 'noisy'"),
        ("loose", "has the image a outside of a folder"),
        ("twins", r"a\.png and a\.tif have one name"),
        ("short", "2 captures; accepted: 3 or more"),
        ("broken", "the noisy image: cannot be read as an image"),
        ("deep", "the noisy image: a colour image with 16 bits per channel|accepted: 8 bits"),
        ("pages", "the noisy image: a file of 2 images; accepted: one image in each file"),
    ],
)
def test_other_layouts_are_refused_in_one_line(tmp_path, layout, problem):
    path, image = tmp_path / "pairs", grey(scenes(1)[0])
    if layout in ("twins", "broken", "deep", "pages"):
        write_folder(path / "noisy", {"a": image})
    if layout in ("clean", "twins", "broken", "deep", "pages"):
        write_folder(path / "clean", {"a": image})
    if layout == "twins":
        tifffile.imwrite(path / "noisy" / "a.tif", image)
    elif layout == "broken":
        (path / "noisy" / "a.png").write_bytes(b"nothing")
    elif layout == "deep":
        (path / "noisy" / "a.png").write_bytes(DEEP_COLOURS)
    elif layout == "pages":
        (path / "noisy" / "a.png").unlink()
        tifffile.imwrite(path / "noisy" / "a.tif", np.stack([image, image]), photometric="minisblack")
    elif layout == "loose":
        write_folder(path, {"a": image})
    elif layout == "short":
        write_folder(path / "scene", {"a": image, "b": image})
    with pytest.raises(DataError, match=problem) as caught:
        Captures(str(path)).images("test", 1)
    assert "\n" not in str(caught.value)


def test_parameters_and_other_splits_are_checked(tmp_path):
    with pytest.raises(ParameterError, match="white=3; accepted: greater than black=5"):
        gahbench.create("dataset", "captures[path=here,black=5,white=3]")
    with pytest.raises(ParameterError, match="sigma"):
        gahbench.create("dataset", "captures[path=here,sigma=2]")
    captures = Captures(write_pairs(tmp_path))
    with pytest.raises(DataError, match=r"1 train images requested, .* recorded pairs are for testing only"):
        captures.images("train", 1)
    with pytest.raises(DataError, match="4 noisy images requested, but there are 3"):
        captures.captured(4)


def test_dark_files_of_16_bits_are_noted(tmp_path):
    clean = [grey(scenes(1)[0], 4095, np.uint16)]
    path = write_array(tmp_path, clean=clean, noisy=[grey(scenes(1)[0] + noise(0, 0.1), 4095, np.uint16)])
    assert any("white=4095" in note for note in Captures(path).notes)
    assert not Captures(path, white=4095).notes
