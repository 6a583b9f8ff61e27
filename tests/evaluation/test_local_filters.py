"""Jacobians of an evaluation: the choice of bfloat16, and its accuracy."""

import pytest
import torch

import gahbench
from gahbench.evaluation import Evaluation
from gahbench.networks import Trained

SIGMA = 0.2


def evaluation(precision, count=26, network="bf-cnn"):
    dataset = gahbench.create("dataset", "discs[size=12]")
    torch.manual_seed(0)
    parameters = {"width": 8, "layers": 4} if network == "bf-cnn" else {"width": 8, "depth": 1}
    built = gahbench.create("architecture", network, shape=dataset.shape, **parameters)
    # Scale the weights, since untrained networks hardly change an image.
    for parameter in built.parameters():
        parameter.data.mul_(2.5)
    return Evaluation(Trained(built), dataset.images("test", count), [SIGMA], jacobian_precision=precision)


def test_matrices_agree_with_float32_and_the_error_is_stated():
    exact, fast = evaluation("float32"), evaluation("bfloat16")
    exact_matrices, fast_matrices = (
        exact.local_filters.matrices(SIGMA).double(),
        fast.local_filters.matrices(SIGMA).double(),
    )
    difference = ((exact_matrices - fast_matrices).flatten(1).norm(dim=1) / exact_matrices.flatten(1).norm(dim=1)).max()
    assert 0 < float(difference) <= 0.01
    assert fast.local_filters.error == pytest.approx(float(difference), rel=1.0)
    assert exact.local_filters.error == 0
