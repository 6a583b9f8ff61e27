"""Preprocessing, near duplicates, and splits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench._util.errors import DataError
from gahbench_plugins.datasets._reading import splits
from gahbench_plugins.datasets._reading.preprocess import Preprocessing
from gahbench_plugins.datasets._reading.splits import consecutive, distinct_indices, halves, published_splits

RNG = np.random.default_rng(0)


def pixels(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def bicubic(side, size):
    """Return rows of weights: the cubic convolution kernel (a = -1/2), stretched by the step between new pixels."""
    scale = side / size
    distance = np.abs((np.arange(side)[None] + 0.5) - (np.arange(size)[:, None] + 0.5) * scale) / scale
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    return weights / weights.sum(1, keepdims=True)


def test_celeba_preset_is_crop_mean_and_bicubic_computed_independently():
    source = pixels(5, 218, 178, 3)
    cropped = source[:, 29:-29, 9:-9].mean(3)
    assert cropped.shape == (5, 160, 160)
    weights = bicubic(160, 80)
    exact = np.clip(weights @ cropped @ weights.T, 0, 255)
    result = Preprocessing()(source.transpose(0, 3, 1, 2), "here")
    assert result.dtype == np.uint8
    # The images differ only by rounding: half a grey level, and the errors of single precision.
    assert np.abs(result[:, 0] - exact).max() < 0.5 + 1e-3
    unrounded = Preprocessing()((source / 255).transpose(0, 3, 1, 2), "here")
    np.testing.assert_allclose(unrounded[:, 0], exact / 255, atol=1e-6)


def test_half_size_preset_only_crops():
    source = pixels(3, 1, 109, 89)
    np.testing.assert_array_equal(Preprocessing()(source, "here"), source[:, :, 14:94, 4:84])


@pytest.mark.parametrize("size", [160, 150, 40])
def test_a_size_applies_to_the_window_of_the_preset(size):
    source = pixels(2, 1, 218, 178)
    window = source[:, :, 29:-29, 9:-9]
    expected = Preprocessing(size)(window, "here")
    assert expected.shape == (2, 1, size, size)
    np.testing.assert_array_equal(Preprocessing(size)(source, "here"), expected)
    if size >= 144:
        margin = (160 - size) // 2
        np.testing.assert_array_equal(expected, window[:, :, margin : margin + size, margin : margin + size])


def test_colours():
    source = pixels(4, 3, 9, 9)
    red, green, blue = source.astype(float).transpose(1, 0, 2, 3)
    mean = Preprocessing(colour="mean")(source, "here")[:, 0]
    assert np.abs(mean - (red + green + blue) / 3).max() < 0.5 + 1e-4
    luma = Preprocessing(colour="luma")(source, "here")[:, 0]
    assert np.abs(luma - (0.299 * red + 0.587 * green + 0.114 * blue)).max() < 0.5 + 1e-4
    np.testing.assert_array_equal(Preprocessing(colour="rgb")(source, "here"), source)
    grey = pixels(4, 1, 9, 9)
    for colour in ("mean", "luma"):
        np.testing.assert_array_equal(Preprocessing(colour=colour)(grey, "here"), grey)
    with pytest.raises(DataError, match="here: grey images; colour=rgb"):
        Preprocessing(colour="rgb")(grey, "here")
    with pytest.raises(DataError, match="grey"):
        Preprocessing(8, colour="rgb")(pixels(1, 1, 20, 20), "here")


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    channels=st.sampled_from([1, 3]),
    colour=st.sampled_from(["mean", "luma", "rgb"]),
    share=st.floats(0.2, 1),
    level=st.integers(0, 255),
)
def test_constant_images_stay_constant_at_any_size(height, width, channels, colour, share, level):
    size = max(8, int(share * min(height, width)))
    source = np.full((2, channels, height, width), level, dtype=np.uint8)
    if colour == "rgb" and channels == 1:
        return
    result = Preprocessing(size, colour)(source, "here")
    assert result.shape == (2, 3 if colour == "rgb" else 1, size, size)
    assert (result == level).all()


@settings(deadline=None, max_examples=25)
@given(side=st.integers(10, 60), size=st.integers(8, 60), seed=st.integers(0, 99))
def test_images_of_a_batch_are_independent_and_flipping_commutes(side, size, seed):
    source = np.random.default_rng(seed).integers(0, 256, (3, 3, side, side), dtype=np.uint8)
    prepare = Preprocessing(size, "mean")
    if size > side:
        with pytest.raises(DataError, match=f"{side}x{side} pixels; size={size}"):
            prepare(source, "here")
        return
    result = prepare(source, "here")
    np.testing.assert_array_equal(np.concatenate([prepare(source[k : k + 1], "here") for k in range(3)]), result)
    if (side - size) % 2 == 0:
        # Rounding of exact halves may differ by one level.
        turned = prepare(source[..., ::-1], "here").astype(int)
        assert np.abs(turned - result[..., ::-1]).max() <= 1


def test_pooled_images_do_not_depend_on_size_or_colour():
    source = pixels(3, 3, 218, 178)
    expected = (source[:, :, 29:-29, 9:-9] / 255).mean(1).reshape(3, 20, 8, 20, 8).mean((2, 4)).reshape(3, 400)
    for prepare in (Preprocessing(), Preprocessing(32, "luma"), Preprocessing(150, "rgb")):
        np.testing.assert_allclose(prepare.pooled(source), expected, atol=1e-6)


def kept_one_by_one(images):
    """Compare each image with the kept images, by numpy's correlation."""
    stay = []
    for index, image in enumerate(images):
        if np.ptp(image) == 0 or not any(
            np.ptp(images[other]) > 0 and np.corrcoef(image, images[other])[0, 1] > 0.95 for other in stay
        ):
            stay.append(index)
    return stay


def test_only_planted_duplicates_are_found():
    random = np.random.default_rng(0)
    images = random.uniform(size=(3000, 400)).astype(np.float32)
    copies = random.choice(np.arange(1500, 3000), 60, replace=False)
    originals = random.choice(1500, 60, replace=False)
    # Brightness and contrast do not change a correlation, and weak noise hardly does.
    images[copies] = 0.6 * images[originals] + 0.2 + 0.01 * random.normal(size=(60, 400))
    stay = distinct_indices(torch.from_numpy(images))
    assert sorted(set(range(3000)) - set(stay.tolist())) == sorted(copies.tolist())


@pytest.mark.parametrize(("cosine", "kept"), [(0.9501, [0]), (0.9499, [0, 1]), (-0.999, [0, 1])])
def test_the_threshold_is_sharp(cosine, kept):
    basis = np.linalg.qr(np.concatenate([np.ones((400, 1)), np.random.default_rng(1).normal(size=(400, 2))], 1))[0].T
    images = np.stack([3 * basis[1] + 5, 7 * (cosine * basis[1] + (1 - cosine**2) ** 0.5 * basis[2])])
    assert distinct_indices(torch.from_numpy(images.astype(np.float32))).tolist() == kept


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 40), chunk=st.integers(1, 9), span=st.integers(1, 9))
def test_chunked_comparison_agrees_with_pairwise_comparison(seed, count, chunk, span):
    random = np.random.default_rng(seed)
    # Images have few pixels and few values, so that repeats and chains of repeats are common.
    images = random.choice([0.0, 1.0], size=(count, 5)) + random.choice([0, 0.02], size=(count, 1)) * np.arange(5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "CHUNK", chunk)
        patch.setattr(splits, "SPAN", span)
        result = distinct_indices(torch.from_numpy(images.astype(np.float32)))
    assert result.tolist() == kept_one_by_one(images.astype(np.float32))


@given(total=st.integers(1, 400), test=st.none() | st.integers(1, 40), start=st.integers(0, 9))
def test_consecutive_splits_partition_the_images(total, test, start):
    indices = np.arange(start, start + total)
    if test is not None and test + test // 2 > total:
        with pytest.raises(DataError, match=f"test={test} .* out of {total}"):
            consecutive(indices, test, "here")
        return
    parts = consecutive(indices, test, "here")
    assert list(parts) == ["train", "validation", "test"]
    np.testing.assert_array_equal(np.concatenate(list(parts.values())), indices)
    assert len(parts["validation"]) == len(parts["test"]) // 2
    if test is not None:
        assert len(parts["test"]) == test


def test_default_share_and_limit():
    assert [len(part) for part in consecutive(np.arange(100), None, "").values()] == [64, 12, 24]
    assert [len(part) for part in consecutive(np.arange(10_000), None, "").values()] == [8464, 512, 1024]


def test_the_published_partition_leaves_out_images_that_are_not_kept():
    parts = published_splits(np.array([0, 2, 3, 5]), np.array([2, 0, 0, 1, 1, 0]))
    assert {name: part.tolist() for name, part in parts.items()} == {"train": [2, 5], "validation": [3], "test": [0]}


@given(people=st.lists(st.integers(1, 12), min_size=1, max_size=40), seed=st.integers(0, 2**40))
def test_halves_share_no_person_and_are_balanced(people, seed):
    identity = np.random.default_rng(0).permutation(np.repeat(np.arange(len(people)) * 7 - 3, people))
    # Some images are not for training.
    train = np.arange(len(identity))[len(identity) // 3 :]
    for known in (identity, None):
        parts = halves(train, known, seed)
        np.testing.assert_array_equal(np.sort(np.concatenate([parts["A"], parts["B"]])), train)
        assert abs(len(parts["A"]) - len(parts["B"])) <= (1 if known is None else max(people))
        assert known is None or not set(identity[parts["A"]]) & set(identity[parts["B"]])


def test_halves_are_random_and_follow_the_seed():
    train = np.arange(1000)
    first, again, other = (set(halves(train, None, seed)["A"]) for seed in (0, 0, 1))
    assert first == again
    # Two random halves of 1000 share 250 images, with a standard deviation of 8.
    assert abs(len(first & other) - 250) < 40
