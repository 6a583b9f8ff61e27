"""Closed forms of the expected error against Monte Carlo."""

import pytest
import torch

import gahbench
from gahbench.contracts.truth import TrainingData, Truth
from gahbench.registry.registry import Registry

SHAPE = (1, 16, 16)
BASES = [plugin.name for plugin in Registry().plugins("basis") if plugin.name != "curvelet"]
VARIANTS = ["bandlet[wavelet=null]", "bandlet[wavelet=haar,moments=1]", "wavelet[bior2.2,levels=2]"]
CASES = [
    *((f"{oracle}[{basis}]", 0.1) for oracle in ("oracle-threshold", "oracle-shrink") for basis in (*BASES, *VARIANTS)),
    *((f"oracle-best-basis[bases=[dct,haar,bandlet],rule={rule}]", 0.1) for rule in ("threshold", "shrink")),
    *((f"{oracle}[{basis}]", 0.3) for oracle in ("oracle-threshold", "oracle-shrink") for basis in ("sym4", "pixel")),
    *((f"threshold[{basis},rule={rule},k=2.5]", sigma) for rule in ("hard", "soft")
      for basis, sigma in (("sym4", 0.1), ("haar", 0.02), ("dct", 0.3), ("pixel", 0.1))),
    *((f"heat-kernel[kernel={kernel},time={time}]", 0.15) for kernel in ("heat", "tikhonov") for time in ("null", 0.7)),
    *((f"low-pass[{share}]", 0.15) for share in (0.02, 0.3, 1.0)),
    *((f"{name}", sigma) for name in ("gaussian-blur[0.8]", "wiener-linear[200]") for sigma in (0.03, 0.3)),
]  # fmt: skip
DRAWS = 300


@pytest.mark.parametrize(("text", "sigma"), CASES)
def test_closed_form_is_the_mean_over_noise(text, sigma):
    dataset = gahbench.create("dataset", "c-alpha[alpha=2,size=16]")
    reference = gahbench.create("reference", text)
    reference.fit(TrainingData(dataset))
    clean = dataset.images("test", 1)
    risk = reference.risk(Truth(clean, dataset), sigma)
    if risk is None:
        assert not reference.basis.is_orthonormal(SHAPE)
        return
    truth = Truth(clean.double(), dataset)
    noise = sigma * torch.randn(DRAWS, 1, *SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    errors = torch.stack([(reference.denoise(clean + draw, sigma, truth) - clean).square().mean() for draw in noise])
    standard_error = float(errors.std()) / DRAWS**0.5
    assert standard_error < 0.05 * float(risk)
    assert abs(float(errors.mean()) - float(risk)) < 3 * standard_error


def test_most_bases_are_orthonormal():
    without = {name for name in BASES if not gahbench.create("basis", name).is_orthonormal(SHAPE)}
    assert without == {"wavelet-ti"}
