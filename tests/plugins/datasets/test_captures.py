"""Pairs and bursts of recorded images: what is read, which noise level is found, what is refused, and a camera."""

import io

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from gahbench._util.errors import DataError
from gahbench_plugins.datasets.captures import Captures
from gahbench_plugins.datasets.simulated_captures import SimulatedCaptures, demosaic, mosaic, to_linear, to_srgb
from gahbench_plugins.metrics.recorded import correlation

SIDE = 48


def scenes(count=3, shape=(SIDE, SIDE)):
    """Return smooth images in [0.2, 0.8]."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] / SIDE
    return [0.5 + 0.3 * np.sin(3 * rows + index) * np.cos(4 * columns) for index in range(count)]


def noise(seed, sigma, shape=(SIDE, SIDE)):
    return np.random.default_rng(seed).normal(0, sigma, shape)


FLAT, LARGE = np.full((SIDE, SIDE), 0.5), scenes(1, (SIDE, SIDE + 2))[0]
UNIFORM = np.random.default_rng(0).uniform(size=(SIDE, SIDE))


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
        (np.uint16, 65535, ".png", {}),
        (np.uint16, 4095, ".tif", {"white": 4095}),
        (np.float32, 1, ".tif", {}),
    ],
)
def test_files_of_8_to_16_bits_and_floats_have_the_same_intensities(tmp_path, dtype, white, suffix, parameters):
    scene = scenes(1)[0]
    images = [
        image.astype(dtype) if dtype == np.float32 else grey(image, white, dtype)
        for image in (scene, scene + noise(0, 0.05))
    ]
    for name, image in zip(("clean", "noisy"), images, strict=True):
        write_folder(tmp_path / name, {"a": image}, suffix)
    captures = Captures(str(tmp_path), **parameters)
    rounding = 0.5 / white if white > 1 else 1e-6
    assert np.abs(captures.images("test", 1)[0, 0].numpy() - scene).max() <= rounding + 1e-6
    assert float(captures.captured(1).sigma) == pytest.approx(0.05, rel=0.05)


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


@pytest.mark.parametrize(
    ("clean", "noisy", "reason"),
    [
        ([FLAT], scenes(1) + noise(0, 0.1), "the clean image is constant"),
        (scenes(1) + noise(0, 0.1), scenes(1), "the clean image is noisier"),
        (scenes(1), scenes(1) + noise(0, 2.5), r"its noise level is 2.* above 1, but images lie in \[0, 1\]; set"),
        (255 * np.array(scenes(1)), 255 * (scenes(1) + noise(0, 0.1)), r"values from 51 to 204, outside of \[0, 1\]"),
        (scenes(1), [np.where(np.eye(SIDE) > 0, np.nan, FLAT)], "pixels that are infinite or NaN"),
        (scenes(1), [FLAT], "the noisy image is constant"),
        (scenes(1), scenes(1), "the noisy image equals the clean image"),
        (scenes(1), [LARGE], "the clean image has 48x48 pixels and the noisy image 48x50"),
        (None, [FLAT], "the noisy image is constant"),
        (None, [np.where(np.eye(SIDE) > 0, np.nan, FLAT)], "pixels that are infinite or NaN"),
        (None, [255 * UNIFORM], r"outside of \[0, 1\]; set 'black' and 'white'|above 1"),
        (None, [UNIFORM[:8]], "sides of 16 pixels or more"),
        (None, [(UNIFORM > 0.5).astype(float)], "too few blocks without clipped pixels"),
    ],
)
def test_pairs_that_cannot_be_used_are_named(tmp_path, clean, noisy, reason):
    arrays = {"noisy": noisy} if clean is None else {"clean": clean, "noisy": noisy}
    with pytest.raises(DataError, match=f"1 of 1 images cannot be used: image 0: .*({reason})"):
        Captures(write_array(tmp_path, **arrays)).images("test", 1)


@pytest.mark.parametrize(
    ("noisy", "reason"),
    [({"p1": None}, "p1: no noisy image of this name"), ({"extra": FLAT}, "extra: no clean image of this name")],
)
def test_other_pairs_are_kept_on_request(tmp_path, noisy, reason):
    path = write_pairs(tmp_path, **noisy)
    with pytest.raises(DataError, match=f"1 of [34] images cannot be used: {reason}"):
        Captures(path).images("test", 1)
    kept = Captures(path, on_error="skip")
    assert kept.available("test") == 2 + ("extra" in noisy)
    assert any(reason in note for note in kept.notes)


def test_clipping_gamma_and_compression_are_not_taken_for_exchanged_images(tmp_path):
    clean = scenes(1)[0] + noise(5, 0.08)  # texture
    buffer = io.BytesIO()
    Image.fromarray(grey(clean + noise(0, 0.05))).save(buffer, "JPEG", quality=20)
    compressed = np.asarray(Image.open(buffer)) / 255
    dark = np.clip(0.1 * clean, 0, 1)
    for pair in ((clean, compressed), (dark**0.45, np.clip(dark + noise(1, 0.05), 0, 1) ** 0.45)):
        assert Captures(write_array(tmp_path, clean=pair[:1], noisy=pair[1:])).available("test") == 1


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (["clean/a.png"], "has the folder 'clean', but no folder 'noisy'; accepted: "),
        (["a.png"], "has the image a outside of a folder; accepted: "),
        (["clean/a.png", "noisy/a.png", "noisy/a.tif"], r"a\.png and a\.tif have one name; accepted: distinct names"),
        (["scene/a.png", "scene/b.png"], "scene: 2 captures; accepted: 3 or more"),
        (["scene/a.png", "scene/b.png", "scene/bad.png"], r"scene: bad\.png: cannot be read as an image: "),
    ],
)
def test_other_layouts_are_refused_in_one_line(tmp_path, files, problem):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(grey(scenes(1)[0])).save(tmp_path / name)
        if name.endswith("bad.png"):
            (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=problem) as caught:
        Captures(str(tmp_path)).images("test", 1)
    assert "\n" not in str(caught.value)


def flat(intensity, side=256):
    return torch.full((3, side, side), intensity, dtype=torch.float64)


def test_the_srgb_curve_has_its_published_values_and_inverse():
    linear = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert torch.allclose(to_linear(to_srgb(linear)), linear, atol=1e-9)
    # IEC 61966-2-1: mid grey of 18 % is 0.4614 (117.6 of 255), and the line meets the power.
    assert float(to_srgb(torch.tensor(0.18).double())) == pytest.approx(0.46136, abs=1e-5)
    ends = to_srgb(torch.tensor([0.0031308, 0.0031309]).double())
    assert float(ends[1] - ends[0]) == pytest.approx(12.92e-7, rel=0.3)


def test_demosaicing_is_exact_for_linear_images_of_any_colour():
    """The filters of Malvar et al. reproduce each colour plane that is linear in rows and columns."""
    rows, columns = torch.meshgrid(*(torch.linspace(0, 1, 16, dtype=torch.float64),) * 2, indexing="ij")
    ramp = 0.2 + 0.3 * rows + 0.4 * columns
    grey = torch.stack([ramp, ramp, ramp])
    inside = (slice(None), slice(2, -2), slice(2, -2))
    assert torch.allclose(demosaic(mosaic(grey))[inside], grey[inside])
    colours = torch.stack([ramp, ramp + 0.1, ramp - 0.2])
    assert torch.allclose(demosaic(mosaic(colours))[inside], colours[inside])
    # The border is mirrored, so that flat colours are exact everywhere.
    constant = torch.tensor([0.3, 0.5, 0.9], dtype=torch.float64).view(3, 1, 1).expand(3, 16, 16)
    assert torch.allclose(demosaic(mosaic(constant)), constant)


def test_without_mosaic_gamma_and_jpeg_the_noise_is_white_with_the_variance_of_photons_and_read_out():
    camera = SimulatedCaptures(photons=200, read_noise=3, mosaic=False, gamma=False, quality=None)
    for intensity in (0.2, 0.6):
        clean, noisy = camera.take(flat(intensity), 0)
        assert torch.equal(clean, flat(intensity))
        variance = float((noisy - clean).square().mean())
        # The variance of 196608 values has a relative standard error of 0.3 %.
        assert variance == pytest.approx(intensity / 200 + (3 / 200) ** 2, rel=0.015)
        noise = (noisy - clean)[:, None]
        assert float(correlation(noise, 1, -1).abs().max()) < 4 / 256


def test_gamma_multiplies_noise_by_its_derivative():
    camera = SimulatedCaptures(photons=20_000, read_noise=0, mosaic=False, gamma=True, quality=None)
    clean, noisy = camera.take(flat(0.2), 0)
    slope = 1.055 / 2.4 * 0.2 ** (1 / 2.4 - 1)
    assert float((noisy - clean).square().mean().sqrt()) == pytest.approx(slope * (0.2 / 20_000) ** 0.5, rel=0.01)


def test_demosaicing_correlates_the_noise_of_neighbours_as_its_filters_do():
    """The green plane: half of the pixels are white noise, and the others filter it with known weights."""
    camera = SimulatedCaptures(photons=200, read_noise=0, mosaic=True, gamma=False, quality=None)
    clean, noisy = camera.take(flat(0.5, 512), 0)
    noise = (noisy - clean)[1:2, None]
    sigma2 = 0.5 / 200
    # Variances: 1 at green pixels; 4 (2/8)^2 + (4/8)^2 + 4 (1/8)^2 at the others.
    variance = (1 + 4 / 16 + 1 / 4 + 4 / 64) / 2 * sigma2
    assert float(noise.square().mean()) == pytest.approx(variance, rel=0.02)
    # A neighbour of a green pixel has the weight 2/8 of it, and both orders of the pair have this covariance.
    assert float(correlation(noise, 1, -1)) == pytest.approx(0.25 * sigma2 / variance, abs=0.02)
