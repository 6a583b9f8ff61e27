"""The spread of features over channels, of a network whose features are known."""

import pytest
import torch
from given_images import GivenImages
from known_filters import create, samples
from torch import nn

from gahbench._util.errors import ParameterError
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench.networks.trained import Trained


class Features(nn.Module):
    """Its features are multiples 0, 1 and 2 of the image, so that the maximum over space spreads as itself."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(1, 3, 1, bias=False)
        self.last = nn.Conv2d(3, 1, 1, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1, 1))

    def forward(self, noisy, sigma):
        return self.last(self.features(noisy))


def evaluation(learned, drawn, network=None):
    clean = torch.zeros(4, 1, 8, 8)
    learned_from = TrainingData(GivenImages(learned))
    found = Evaluation(Trained(network or Features()), clean, [1e-6, 0.5], learned_from=learned_from)
    found._samples = samples(drawn)
    return found


def values(metric, evaluated):
    scores = create("metric", metric).score(evaluated)
    return dict(zip(scores.part or (), scores.value, strict=True))


@pytest.mark.parametrize("metric", ["representation", "representation[features]"])
def test_the_spread_is_that_of_the_largest_features(metric):
    # At the least noise level there is next to no noise: images of .8 have pooled features 0, .8 and 1.6.
    learned, drawn = torch.full((6, 1, 8, 8), 0.8), torch.full((3, 1, 8, 8), 0.4)
    found = values(metric, evaluation(learned, drawn))
    assert found["train"] == pytest.approx(0.8, abs=1e-4)
    assert found["generated"] == pytest.approx(0.4, abs=1e-4)
    assert found["test"] == pytest.approx(0, abs=1e-4)
    assert found[""] == pytest.approx(2, rel=1e-3)


def test_a_layer_that_is_not_there_is_named():
    images = torch.rand(3, 1, 8, 8)
    with pytest.raises(ParameterError, match="no layer 'feature'; did you mean 'features'"):
        values("representation[feature]", evaluation(images, images))
    with pytest.raises(
        ValueError, match=r"layer 'last' puts out shape \(3, 1, 8, 8\); accepted are \(N, C, H, W\), C > 1"
    ):
        values("representation[last]", evaluation(images, images))


def test_a_network_without_features_has_no_value():
    images = torch.rand(3, 1, 8, 8)

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, noisy, sigma):
            return self.inner(noisy.flatten(1)).view_as(noisy)

    assert values("representation", evaluation(images, images, Flat())) == {}
