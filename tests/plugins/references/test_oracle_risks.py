"""Closed-form oracle risks against Monte Carlo, in every orthonormal basis that is registered."""

import pytest
import torch

import gahbench
from gahbench.contracts.truth import TrainingData, Truth
from gahbench.registry.registry import Registry

SHAPE = (1, 16, 16)
DATASET = "c-alpha[alpha=2,size=16]"
NAMES = [plugin.name for plugin in Registry().plugins("basis") if plugin.name != "curvelet"]
DRAWS = 300
SIGMA = 0.1


@pytest.mark.parametrize("rule", ["oracle-threshold", "oracle-shrink"])
@pytest.mark.parametrize("name", [*NAMES, "bandlet[wavelet=null]", "bandlet[wavelet=haar,moments=1]", "dct-and-others"])
def test_closed_form_is_the_mean_over_noise(name, rule):
    dataset = gahbench.create("dataset", DATASET)
    text = f"{rule}[{name}]"
    if name == "dct-and-others":
        text = f"oracle-best-basis[bases=[dct,haar,bandlet],rule={rule.removeprefix('oracle-')}]"
    reference = gahbench.create("reference", text)
    reference.fit(TrainingData(dataset))
    clean = dataset.images("test", 1)
    truth = Truth(clean, dataset)
    risk = reference.risk(truth, SIGMA)
    if risk is None:
        assert not reference.basis.is_orthonormal(SHAPE)
        return
    noise = torch.randn(DRAWS, *SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    errors = torch.cat(
        [
            (reference.denoise(clean.double() + SIGMA * draw, SIGMA, Truth(clean.double(), dataset)) - clean).square()
            for draw in noise[:, None].unbind(0)
        ]
    ).mean((1, 2, 3))
    standard_error = float(errors.std()) / DRAWS**0.5
    assert standard_error < 0.05 * float(risk)
    assert abs(float(errors.mean()) - float(risk)) < 3 * standard_error


def test_most_bases_are_orthonormal():
    without = {name for name in NAMES if not gahbench.create("basis", name).is_orthonormal(SHAPE)}
    assert without == {"wavelet-ti"}
