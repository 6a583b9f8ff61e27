import pytest
import torch

from gahbench.sampling import nearest_is_own, remove_shared, simultaneous_lower


def images(count, seed):
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_copies_are_in_their_own_set():
    own, other = images(9, 1), images(9, 2)
    assert nearest_is_own(own + 1e-3, own, other).tolist() == [1.0] * 9
    assert nearest_is_own(other, own, other).tolist() == [0.0] * 9


def test_copies_of_another_brightness_may_all_be_nearest_to_the_other_set():
    """Bright copies are nearest to the brightest image and dark copies to the darkest image, whatever their content."""
    first, second = images(9, 1), images(9, 2)
    first[0], second[0] = 0.01 * first[0], 2 * second[0]
    bright, dark = 20 * first[1:], 0.001 * second[1:]
    assert nearest_is_own(bright, first, second).tolist() == [0.0] * 8
    assert nearest_is_own(dark, second, first).tolist() == [0.0] * 8
    assert nearest_is_own(bright + 1, first, second, affine=True).tolist() == [1.0] * 8
    assert nearest_is_own(dark - 1, second, first, affine=True).tolist() == [1.0] * 8


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("count", [1, 10, 100])
def test_half_of_the_samples_that_ignore_the_sets_are_nearer_to_their_own_set(count, affine):
    """For exchangeable sets the mean of both shares is always 1/2; the share of a single set is not."""
    pis, shares = [], []
    for seed in range(60):
        own, other, samples = images(count, 3 * seed), images(count, 3 * seed + 1), images(64, 3 * seed + 2)
        first, second = (
            nearest_is_own(samples[:32], own, other, affine),
            nearest_is_own(samples[32:], other, own, affine),
        )
        pis.append(float((first.mean() + second.mean()) / 2))
        shares.append(float(first.mean()))
        # For equal samples the two shares add up to 1.
        total = nearest_is_own(samples, own, other, affine) + nearest_is_own(samples, other, own, affine)
        assert float(total.mean()) == 1
    pis, shares = torch.tensor(pis), torch.tensor(shares)
    assert abs(float(pis.mean()) - 0.5) < 4 * float(pis.std()) / 60**0.5
    if count == 1 and not affine:
        # One image may be nearer to all samples, so shares spread far more than binomially.
        assert float(shares.std()) > 2 * (0.25 / 32) ** 0.5
        assert float(pis.std()) < 1.3 * (0.25 / 64) ** 0.5


def test_shared_images_are_removed_and_the_sets_truncated_to_equal_size():
    own, other = images(5, 1), torch.cat([images(3, 2), images(5, 1)[1:3]])
    unshared_own, unshared_other = remove_shared(own, other)
    assert torch.equal(unshared_own, own[[0, 3, 4]])
    assert torch.equal(unshared_other, other[:3])
    unshared_own, unshared_other = remove_shared(own, own)
    assert len(unshared_own) == len(unshared_other) == 0


def test_lower_limits_hold_simultaneously_in_95_per_cent_of_cases():
    generator = torch.Generator().manual_seed(0)
    trials, above = 400, 0
    for _ in range(trials):
        shared = torch.randn(1, 64, generator=generator)
        values = shared + torch.randn(8, 64, generator=generator)
        above += bool((simultaneous_lower(values, draws=400) <= 0).all())
    assert abs(above / trials - 0.95) < 4 * (0.95 * 0.05 / trials) ** 0.5


def test_the_limit_of_a_constant_row_is_its_mean_and_of_an_empty_row_nan():
    values = torch.stack([torch.ones(6), torch.full((6,), torch.nan), torch.arange(6.0)])
    low = simultaneous_lower(values)
    assert float(low[0]) == 1
    assert low[1].isnan()
    assert float(low[2]) < 2.5
    assert simultaneous_lower(values[:2])[0] == 1
