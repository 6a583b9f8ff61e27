import pytest
import torch

import gahbench
from gahbench.evaluation.evaluation import Evaluation
from gahbench_plugins.metrics.decay import Decay
from gahbench_plugins.references.identity import Identity

SIZE = 64
GENERATOR = torch.Generator().manual_seed(0)


def images(alpha, count=2):
    """Images whose pixels, sorted, have squares that fall as k^-(alpha+1)."""
    values = torch.arange(1, SIZE * SIZE + 1, dtype=torch.float64) ** (-(alpha + 1) / 2)
    places = torch.stack([torch.randperm(SIZE * SIZE, generator=GENERATOR) for _ in range(count)])
    return values[places].reshape(count, 1, SIZE, SIZE).float()


@pytest.mark.parametrize("entrant", ["oracle-threshold[pixel]", "bayes-shrink[pixel]"])
@pytest.mark.parametrize("alpha", [1.0, 3.0])
def test_the_exponent_is_that_of_the_entrants_own_basis(entrant, alpha):
    reference = gahbench.create("reference", entrant)
    scores = Decay().score(Evaluation(reference, images(alpha), [0.1, 0.2]))
    assert scores.value == pytest.approx([alpha] * 4, abs=1e-3)
    assert scores.image == [0, 1, 0, 1]


def test_entrants_without_a_basis_have_none():
    assert list(Decay().score(Evaluation(Identity(), images(1.0), [0.1])).value) == []
    framed = gahbench.create("reference", "oracle-threshold[wavelet-ti]")
    assert list(Decay().score(Evaluation(framed, images(1.0), [0.1])).value) == []


def test_small_or_empty_images_are_refused():
    with pytest.raises(ValueError, match="ranks 32 to 32 on images"):
        Decay().check((1, 32, 32), [0.1])
    Decay(min_terms=8).check((1, 32, 32), [0.1])
    reference = gahbench.create("reference", "oracle-threshold[pixel]")
    # One of the two images has fewer coefficients than ranks, but for rounding.
    sparse = images(1.0)
    sparse[1] = 1e-9 * sparse[1]
    sparse[1, 0, 0, :10] = 1.0
    scores = Decay().score(Evaluation(reference, sparse, [0.1, 0.2]))
    assert (list(scores.image), list(scores.sigma)) == ([0, 0], [0.1, 0.2])
    assert scores.value == pytest.approx([1.0, 1.0], abs=1e-3)


def test_channels_are_fitted_one_by_one():
    reference = gahbench.create("reference", "oracle-threshold[pixel]")
    both = torch.cat([images(1.0), 0.01 * images(3.0)], dim=1)
    assert Decay().score(Evaluation(reference, both, [0.1])).value == pytest.approx([2.0] * 2, abs=1e-3)
