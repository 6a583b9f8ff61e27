import pytest
import torch

from gahbench.sampling import own_set, simultaneous_lower, without_shared


def images(count, seed):
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_copies_are_in_their_own_set():
    own, other = images(9, 1), images(9, 2)
    assert own_set(own + 1e-3, own, other).tolist() == [1.0] * 9
    assert own_set(other, own, other).tolist() == [0.0] * 9


@pytest.mark.parametrize("count", [1, 10, 100])
def test_of_samples_that_do_not_depend_on_the_sets_half_are_nearer_to_their_own(count):
    """Exchangeable sets: the mean over both is 1/2 whatever the sets are, though the share of one alone is not."""
    pis, shares = [], []
    for seed in range(60):
        own, other, samples = images(count, 3 * seed), images(count, 3 * seed + 1), images(64, 3 * seed + 2)
        one, another = own_set(samples[:32], own, other), own_set(samples[32:], other, own)
        pis.append(float((one.mean() + another.mean()) / 2))
        shares.append(float(one.mean()))
        # The same samples on both sides cancel exactly.
        assert float((own_set(samples, own, other) + own_set(samples, other, own)).mean()) == 1
    pis, shares = torch.tensor(pis), torch.tensor(shares)
    assert abs(float(pis.mean()) - 0.5) < 4 * float(pis.std()) / 60**0.5
    if count == 1:
        # One image may be nearer to everything: far beyond the binomial spread.
        assert float(shares.std()) > 2 * (0.25 / 32) ** 0.5
        assert float(pis.std()) < 1.3 * (0.25 / 64) ** 0.5


def test_what_both_hold_is_left_out_and_the_rest_is_equally_many():
    own, other = images(5, 1), torch.cat([images(3, 2), images(5, 1)[1:3]])
    mine, others = without_shared(own, other)
    assert torch.equal(mine, own[[0, 3, 4]])
    assert torch.equal(others, other[:3])
    mine, others = without_shared(own, own)
    assert len(mine) == len(others) == 0


def test_lower_ends_hold_at_once_in_95_of_100_cases():
    generator = torch.Generator().manual_seed(0)
    trials, above = 400, 0
    for _ in range(trials):
        shared = torch.randn(1, 64, generator=generator)
        values = shared + torch.randn(8, 64, generator=generator)
        above += bool((simultaneous_lower(values, draws=400) <= 0).all())
    assert abs(above / trials - 0.95) < 4 * (0.95 * 0.05 / trials) ** 0.5


def test_a_row_without_spread_is_its_mean_and_one_without_values_is_unknown():
    values = torch.stack([torch.ones(6), torch.full((6,), torch.nan), torch.arange(6.0)])
    low = simultaneous_lower(values)
    assert float(low[0]) == 1
    assert low[1].isnan()
    assert float(low[2]) < 2.5
    assert simultaneous_lower(values[:2])[0] == 1
