"""What a denoiser may see is decided by its kind, and an unknown kind sees nothing."""

import re

import pytest
import torch

import gahbench
from gahbench._util.errors import PluginError
from gahbench.contracts.denoisers import KINDS, SEES_CLEAN, SEES_DATASET, shown
from gahbench.contracts.truth import Truth
from gahbench.evaluation import Evaluation
from gahbench.registry.registry import Registry
from gahbench.sampling import of_denoiser
from gahbench.testing import check_file

SAYS = "kind='clasical' of a denoiser is unknown; did you mean 'classical'? accepted: trained, classical, oracle"


class Misspelt:
    kind = "clasical"

    def denoise(self, noisy, sigma, truth):
        return truth.clean


def test_what_a_kind_may_see():
    dataset = gahbench.create("dataset", "discs", size=8)
    truth = Truth(torch.rand(2, 1, 8, 8), dataset, "validation", 3)
    for kind in KINDS:
        seen = shown(kind, truth)
        assert torch.equal(seen.clean, truth.clean) if kind in SEES_CLEAN else bool(seen.clean.isnan().all())
        assert (seen.dataset is dataset) == (kind in SEES_DATASET)
        assert (seen.split, seen.start) == ("validation", 3)
    assert "classical" not in SEES_DATASET
    assert "optimal" not in SEES_CLEAN


def test_a_denoiser_of_an_unknown_kind_is_neither_scored_nor_sampled():
    with pytest.raises(ValueError, match=re.escape(SAYS)):
        Evaluation(Misspelt(), torch.zeros(1, 1, 8, 8), [0.1])
    with pytest.raises(ValueError, match=re.escape(SAYS)):
        of_denoiser(Misspelt(), (1, 8, 8))
    with pytest.raises(ValueError, match=re.escape(SAYS)):
        shown("clasical", Truth(torch.zeros(1, 1, 8, 8)))


PLUGIN = """
import gahbench

class Half(gahbench.Reference):
    "Halves the image."
    {kind}
    def denoise(self, noisy, sigma, truth):
        return 0.5 * noisy

@gahbench.hookimpl
def register_references(register):
    register("half", Half)
"""


def test_a_reference_whose_kind_is_misspelt_is_refused_with_the_file(tmp_path):
    file = tmp_path / "half.py"
    file.write_text(PLUGIN.format(kind="kind = 'clasical'"))
    registry = Registry((file,))
    (problem,) = registry.problems
    assert SAYS in problem.error
    with pytest.raises(PluginError, match="did you mean 'classical'"):
        registry.get("reference", "half")
    with pytest.raises(PluginError, match="did you mean 'classical'"):
        check_file(file)


def test_the_checks_name_a_kind_that_only_an_instance_has(tmp_path):
    file = tmp_path / "half.py"
    file.write_text(PLUGIN.format(kind="def __init__(self): self.kind = 'clasical'"))
    (report,) = check_file(file)
    assert [finding.check for finding in report.findings if finding.passed is False] == ["its kind is accepted"]
    assert "'clasical'; accepted: trained, classical" in str(report)
