import pytest
import torch

from gahbench.sampling.statistics.neighbours import pair_cosines


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_correlation_of_pixels():
    first, second = random(6, 1, 5, 5), random(6, 1, 5, 5, seed=1)
    second = second + torch.arange(6).view(6, 1, 1, 1) * first
    expected = [
        torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1]
        for a, b in zip(first, second, strict=True)
    ]
    torch.testing.assert_close(pair_cosines(first, second), torch.stack(expected))


def test_what_is_removed_does_not_count():
    first = random(4, 3, 6, 6)
    torch.testing.assert_close(pair_cosines(first, 2 * first + 5), torch.ones(4).double())
    # Brightness decides whether it is left in.
    assert (pair_cosines(first + 5, 5 - first, centred=False) > 0.8).all()
    torch.testing.assert_close(pair_cosines(first + 5, 5 - first), -torch.ones(4).double())
    family = 10 * random(3, 6, 6, seed=2)
    one, other = family + random(4, 3, 6, 6, seed=3), family + random(4, 3, 6, 6, seed=4)
    assert (pair_cosines(one, other) > 0.95).all()
    assert (pair_cosines(one, other, origin=family).abs() < 0.5).all()


def test_independent_noise_has_none():
    """Cosines of d independent pixels have mean 0 and variance 1 / (d - 1)."""
    found = pair_cosines(random(4000, 1, 5, 5), random(4000, 1, 5, 5, seed=1))
    assert abs(found.mean()) < 4 / (24 * 4000) ** 0.5
    assert found.var().item() == pytest.approx(1 / 24, rel=0.1)


def test_flat_images_and_wrong_shapes():
    assert pair_cosines(torch.ones(2, 1, 3, 3), random(2, 1, 3, 3)).tolist() == [0, 0]
    with pytest.raises(ValueError, match="same shape"):
        pair_cosines(torch.ones(2, 1, 3, 3), torch.ones(3, 1, 3, 3))
