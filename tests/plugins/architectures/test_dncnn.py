import pytest
import torch
from given_networks import build, images
from torch.nn import functional

from gahbench_plugins.architectures._chain import Chain
from gahbench_plugins.architectures.bf_cnn import BFCNN
from gahbench_plugins.architectures.dncnn import DnCNN


def test_evaluation_is_the_formula_of_the_paper():
    network = build(DnCNN, (3, 16, 16), width=4, layers=4)
    state = network.state_dict()
    noisy = images(2, (3, 16, 16))
    features = functional.conv2d(noisy, state["layers.0.weight"], state["layers.0.bias"], padding=1).relu()
    for place in (2, 5):
        features = functional.conv2d(features, state[f"layers.{place}.weight"], padding=1)
        names = ("running_mean", "running_var", "weight", "bias")
        mean, variance, gain, offset = (state[f"layers.{place + 1}.{name}"].view(1, -1, 1, 1) for name in names)
        features = ((features - mean) / (variance + 1e-5).sqrt() * gain + offset).relu()
    noise = functional.conv2d(features, state["layers.8.weight"], state["layers.8.bias"], padding=1)
    with torch.no_grad():
        assert torch.allclose(network(noisy, torch.ones(2)), noisy - noise, atol=1e-4)


def test_without_bias_it_is_the_bias_free_network():
    bias_free = build(BFCNN, (1, 16, 16), width=6, layers=5)
    network = DnCNN(1, width=6, layers=5, bias=False).eval()
    network.load_state_dict(bias_free.state_dict())
    noisy = images(2, (1, 16, 16))
    with torch.no_grad():
        assert torch.equal(network(noisy, torch.ones(2)), bias_free(noisy, torch.ones(2)))


@pytest.mark.parametrize("bias", [False, True])
def test_features_keep_their_size_through_many_layers_without_normalisation(bias):
    torch.manual_seed(0)
    noise = torch.randn(2, 1, 24, 24)
    with torch.no_grad():
        features = Chain(1, 64, 20, bias=bias, norm=False, blind=True).layers[:-1](noise)
    # He et al. 2015: the mean square is kept in expectation; borders of zeros and chance take some of it.
    assert 0.1 < float(features.square().mean()) < 10
