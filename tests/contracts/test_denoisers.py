"""Denoisers of an unknown kind are refused, so that they see no clean images."""

import re

import pytest
import torch

from gahbench._util.errors import PluginError
from gahbench.contracts.denoisers import visible_truth
from gahbench.contracts.truth import Truth
from gahbench.evaluation import Evaluation
from gahbench.registry.registry import Registry
from gahbench.sampling import wrap_denoiser
from gahbench.testing import check_file

MESSAGE = "unknown kind of denoiser: kind='clasical'; did you mean 'classical'? accepted: trained, classical, oracle"


class Misspelt:
    kind = "clasical"

    def denoise(self, noisy, sigma, truth):
        return truth.clean


def test_a_denoiser_of_unknown_kind_is_neither_scored_nor_sampled():
    with pytest.raises(ValueError, match=re.escape(MESSAGE)):
        Evaluation(Misspelt(), torch.zeros(1, 1, 8, 8), [0.1])
    with pytest.raises(ValueError, match=re.escape(MESSAGE)):
        wrap_denoiser(Misspelt(), (1, 8, 8))
    with pytest.raises(ValueError, match=re.escape(MESSAGE)):
        visible_truth("clasical", Truth(torch.zeros(1, 1, 8, 8)))


HALF = "def denoise(self, noisy, sigma, truth): return 0.5 * noisy"


def test_a_plugin_file_with_a_misspelt_kind_is_refused(write_class):
    file = write_class("reference", f"kind = 'clasical'\n{HALF}")
    registry = Registry((file,))
    (problem,) = registry.problems
    assert MESSAGE in problem.error
    with pytest.raises(PluginError, match="did you mean 'classical'"):
        registry.get("reference", "mine")
    with pytest.raises(PluginError, match="did you mean 'classical'"):
        check_file(file)


def test_checks_report_an_unknown_kind_that_the_constructor_sets(write_class):
    (report,) = check_file(write_class("reference", f"def __init__(self): self.kind = 'clasical'\n{HALF}"))
    assert report.failed == ["its kind is accepted"]
    assert "'clasical'; accepted: trained, classical" in str(report)
