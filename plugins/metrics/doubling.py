"""Gain in PSNR from twice the training steps."""

from __future__ import annotations

import bisect
import math
from typing import ClassVar

import torch

from gahbench import Metric, Scores
from gahbench.evaluation import Evaluation

from .psnr import psnr_per_image


class Doubling(Metric):
    """PSNR of a network minus its PSNR after half of the training steps: how much twice the steps gained.

    With the schedule ``constant`` the network after half of the steps is the network of a complete fit of half as many
    steps, so the gain is that of twice the training. With other schedules the learning rate is still high after half of
    the steps, and the gain is too large.

    The PSNR after half of the steps is interpolated between snapshots, linearly in the logarithm of the step. It is
    exact if there is a snapshot after half of the steps, as with 2^k steps and k + 1 snapshots. There is no value if
    all snapshots are of the second half.

    Part: ``half``, the PSNR after half of the steps.
    """

    unit = "dB"
    titles: ClassVar[dict[str, str]] = {"": "gain from twice the steps (dB)"}
    higher_is_better = False
    needs = frozenset({"snapshots", "test"})

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the gain for every image and noise level."""
        steps = [step for step, _ in evaluation.snapshots]
        half = steps[-1] / 2 if steps else math.nan
        after = bisect.bisect_left(steps, half)
        if not steps or steps[0] > half:
            return Scores([])
        indices = [after] if steps[after] == half else [after - 1, after]
        networks = [evaluation.with_denoiser(evaluation.snapshots[index][1]()) for index in indices]
        first, last = (math.log(steps[index]) for index in (indices[0], indices[-1]))
        share = (math.log(half) - first) / (last - first) if last > first else 0.0
        values = {}
        for sigma in evaluation.sigmas:
            psnrs = [psnr_per_image(network, sigma) for network in networks]
            values["half", sigma] = torch.lerp(psnrs[0], psnrs[-1], share)
            values["", sigma] = psnr_per_image(evaluation, sigma) - values["half", sigma]
        return Scores.parts(values)
