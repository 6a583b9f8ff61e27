import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench_plugins.datasets._reading import splits as repeats
from gahbench_plugins.datasets._reading.splits import without_repeats


def kept_one_by_one(images):
    """Compare each image with those that stay, by numpy's correlation."""
    stay = []
    for place, image in enumerate(images):
        if np.ptp(image) == 0 or not any(
            np.ptp(images[other]) > 0 and np.corrcoef(image, images[other])[0, 1] > 0.95 for other in stay
        ):
            stay.append(place)
    return stay


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(repeats, "CHUNK", 7)
    monkeypatch.setattr(repeats, "SPAN", 5)


def test_planted_repeats_are_found_and_nothing_else():
    random = np.random.default_rng(0)
    images = random.uniform(size=(3000, 400)).astype(np.float32)
    copies = random.choice(np.arange(1500, 3000), 60, replace=False)
    originals = random.choice(1500, 60, replace=False)
    # Brightness and contrast change no correlation, and a little noise hardly.
    images[copies] = 0.6 * images[originals] + 0.2 + 0.01 * random.normal(size=(60, 400))
    stay = without_repeats(torch.from_numpy(images))
    assert sorted(set(range(3000)) - set(stay.tolist())) == sorted(copies.tolist())


@pytest.mark.usefixtures("small_chunks")
def test_the_first_of_a_chain_stays_and_what_repeats_only_a_dropped_image():
    # Steps of 15 degrees: neighbours correlate by cos 15 = .966, next ones by cos 30 = .87.
    wave = np.sin(np.arange(48) * 2 * np.pi / 48)
    images = np.stack([np.roll(wave, 2 * step) for step in range(24)]).astype(np.float32)
    assert without_repeats(torch.from_numpy(images)).tolist() == list(range(0, 24, 2))


@pytest.mark.parametrize(("cosine", "kept"), [(0.9501, [0]), (0.9499, [0, 1]), (-0.999, [0, 1])])
def test_the_threshold_is_sharp(cosine, kept):
    basis = np.linalg.qr(np.concatenate([np.ones((400, 1)), np.random.default_rng(1).normal(size=(400, 2))], 1))[0].T
    images = np.stack([3 * basis[1] + 5, 7 * (cosine * basis[1] + (1 - cosine**2) ** 0.5 * basis[2])])
    assert without_repeats(torch.from_numpy(images.astype(np.float32))).tolist() == kept


def test_constant_images_repeat_nothing():
    images = torch.full((4, 400), 0.5)
    images[2] = torch.linspace(0, 1, 400)
    assert without_repeats(images).tolist() == [0, 1, 2, 3]
    assert without_repeats(torch.empty(0, 400)).tolist() == []


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 40), chunk=st.integers(1, 9), span=st.integers(1, 9))
def test_chunks_find_what_comparing_one_by_one_finds(seed, count, chunk, span):
    random = np.random.default_rng(seed)
    # Few pixels and values of two kinds, so that repeats and chains of them are common.
    images = random.choice([0.0, 1.0], size=(count, 5)) + random.choice([0, 0.02], size=(count, 1)) * np.arange(5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "CHUNK", chunk)
        patch.setattr(repeats, "SPAN", span)
        found = without_repeats(torch.from_numpy(images.astype(np.float32)))
    assert found.tolist() == kept_one_by_one(images.astype(np.float32))
