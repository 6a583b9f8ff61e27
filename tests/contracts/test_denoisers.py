"""What a denoiser may see is decided by its kind, and an unknown kind sees nothing."""

import re

import pytest
import torch

from gahbench._util.errors import PluginError
from gahbench.contracts.denoisers import shown
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


def test_a_denoiser_of_an_unknown_kind_is_neither_scored_nor_sampled():
    with pytest.raises(ValueError, match=re.escape(SAYS)):
        Evaluation(Misspelt(), torch.zeros(1, 1, 8, 8), [0.1])
    with pytest.raises(ValueError, match=re.escape(SAYS)):
        of_denoiser(Misspelt(), (1, 8, 8))
    with pytest.raises(ValueError, match=re.escape(SAYS)):
        shown("clasical", Truth(torch.zeros(1, 1, 8, 8)))


HALF = "def denoise(self, noisy, sigma, truth): return 0.5 * noisy"


def test_a_reference_whose_kind_is_misspelt_is_refused_with_the_file(write_class):
    file = write_class("reference", f"kind = 'clasical'\n{HALF}")
    registry = Registry((file,))
    (problem,) = registry.problems
    assert SAYS in problem.error
    with pytest.raises(PluginError, match="did you mean 'classical'"):
        registry.get("reference", "mine")
    with pytest.raises(PluginError, match="did you mean 'classical'"):
        check_file(file)


def test_the_checks_name_a_kind_that_only_an_instance_has(write_class, no_stand_in):
    (report,) = check_file(write_class("reference", f"def __init__(self): self.kind = 'clasical'\n{HALF}"))
    assert report.failed == ["its kind is accepted"]
    assert "'clasical'; accepted: trained, classical" in str(report)
