import pytest
import torch

from gahbench.evaluation import Evaluation
from gahbench.registry import default_registry
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
    reference = default_registry().create("reference", entrant)
    scores = Decay().score(Evaluation(reference, images(alpha), [0.1, 0.2]))
    assert scores.value == pytest.approx([alpha] * 4, abs=1e-3)
    assert scores.image == [0, 1, 0, 1]


def test_entrants_without_a_basis_have_none():
    assert list(Decay().score(Evaluation(Identity(), images(1.0), [0.1])).value) == []
    framed = default_registry().create("reference", "oracle-threshold[wavelet-ti]")
    assert list(Decay().score(Evaluation(framed, images(1.0), [0.1])).value) == []


def test_small_or_empty_images_are_refused():
    with pytest.raises(ValueError, match="ranks 32 to 32 on images"):
        Decay().check((1, 32, 32), [0.1])
    Decay(fewest=8).check((1, 32, 32), [0.1])
    reference = default_registry().create("reference", "oracle-threshold[pixel]")
    with pytest.raises(ValueError, match="coefficients within the ranks are zero"):
        Decay().score(Evaluation(reference, torch.zeros(1, 1, SIZE, SIZE), [0.1]))
