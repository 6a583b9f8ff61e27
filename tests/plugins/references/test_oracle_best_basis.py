import pytest
import torch
from constructing import construct

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.contracts.truth import Truth
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.oracle import OracleShrink, OracleThreshold
from gahbench_plugins.references.oracle_best_basis import OracleBestBasis, _measured

RULES = pytest.mark.parametrize(("rule", "oracle"), [("threshold", OracleThreshold), ("shrink", OracleShrink)])
#: A few pixels, a wave, and what is neither.
SPIKES = (
    torch.zeros(1, 1, 16, 16)
    .index_fill_(2, torch.tensor([3]), 0)
    .index_put_((torch.tensor(0), torch.tensor(0), torch.tensor([3, 9]), torch.tensor([5, 14])), torch.tensor(1.0))
)
WAVE = torch.cos(torch.pi / 16 * 5 * (torch.arange(16) + 0.5)).expand(1, 1, 16, 16)
CLEAN = torch.cat([SPIKES, WAVE, CAlpha(2.0, 16).images("test", 4)])


@RULES
@pytest.mark.parametrize("sigma", [0.02, 0.2])
def test_every_image_has_its_best_basis(rule, oracle, sigma):
    best = construct(OracleBestBasis, ("pixel", "dct", "sym4"), rule)
    single = torch.stack([construct(oracle, basis).risk(Truth(CLEAN), sigma) for basis in ("pixel", "dct", "sym4")])
    torch.testing.assert_close(best.risk(Truth(CLEAN), sigma), single.amin(0))
    choice = best.choice(Truth(CLEAN), sigma)
    assert choice[:2].tolist() == [0, 1]
    noisy = CLEAN + sigma
    each = torch.stack(
        [construct(oracle, basis).denoise(noisy, sigma, Truth(CLEAN)) for basis in ("pixel", "dct", "sym4")]
    )
    torch.testing.assert_close(best.denoise(noisy, sigma, Truth(CLEAN)), each[choice, torch.arange(len(CLEAN))])


def test_one_basis_and_the_same_basis_twice_are_refused():
    for bases, says in (("haar", "at least 2"), ("haar,haar", "repeats a basis")):
        with pytest.raises(ParameterError, match=says):
            gahbench.create("reference", f"oracle-best-basis[bases=[{bases}]]")


def test_other_bases_are_chosen_by_a_measured_error():
    # Between two that are orthonormal it is the closed form, which the measured one comes near.
    best = construct(OracleBestBasis, ("sym4", "dct"))
    clean = Truth(CLEAN)
    measured = torch.stack([_measured(oracle, clean, 0.1) for oracle in best.oracles])
    torch.testing.assert_close(measured, best._risks(clean, 0.1), rtol=0.35, atol=1e-4)
    assert construct(OracleBestBasis, ("sym4", "wavelet[bior2.2]")).risk(clean, 0.1) is None
