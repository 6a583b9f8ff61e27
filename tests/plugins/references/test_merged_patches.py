import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learned_references import fitted, random

from gahbench.contracts.truth import Truth
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references import _local_posterior as local_posterior
from gahbench_plugins.references._local_posterior import merged
from gahbench_plugins.references.local_score import LocalScore


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 300), size=st.integers(1, 20), radius=st.floats(0, 2), seed=st.integers(0, 10**6))
def test_each_patch_counts_once(count, size, radius, seed):
    patches = random(count, size, seed=seed)
    means, numbers = merged(patches, radius)
    assert len(means) == len(numbers) <= count
    assert numbers.sum() == count
    torch.testing.assert_close(numbers @ means, patches.sum(0))
    # What is lost are distances within groups: at most the radius, in root mean square.
    lost = patches.square().sum() - (numbers * means.square().sum(1)).sum()
    assert -1e-9 <= lost <= count * radius**2 + 1e-9


def test_equal_patches_become_one_and_far_ones_stay():
    few = 10 * random(4, 9)
    means, numbers = merged(few.repeat_interleave(64, 0), 1e-6)
    assert numbers.tolist() == [64] * 4
    torch.testing.assert_close(means[means[:, 0].argsort()], few[few[:, 0].argsort()])
    patches = random(50, 9)
    means, numbers = merged(patches, 1e-3)
    torch.testing.assert_close(means[means[:, 0].argsort()], patches[patches[:, 0].argsort()])
    assert numbers.tolist() == [1] * 50


@pytest.mark.parametrize(("patch", "sigma"), [(3, 0.05), (5, 0.2)])
def test_the_local_score_of_merged_patches_is_near_the_exact_one(monkeypatch, patch, sigma):
    training, clean = CAlpha(size=16).images("train", 60), CAlpha(size=16).images("test", 2)
    noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    compared = []
    add = local_posterior.Average.add

    def counted(self, patches, values, numbers=None):
        compared.append(patches.shape[1])
        add(self, patches, values, numbers)

    monkeypatch.setattr(local_posterior.Average, "add", counted)

    def denoised(alike):
        machine = fitted(LocalScore(patch, alike=alike), training)
        compared.clear()
        return machine.denoise(noisy, sigma, Truth(noisy)), sum(compared)

    exact, whole = denoised(0.0)
    errors, numbers = [], []
    for alike in (0.2, 0.6):
        found, number = denoised(alike)
        errors.append(float((found - exact).square().mean().sqrt()) / sigma)
        numbers.append(number)
    assert numbers[1] < numbers[0] < whole
    assert errors[0] < errors[1] < 0.02
