"""What a metric must do."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from gahbench.contracts import Basis, DenoiserKind, Metric, Reference, Scores, Truth
from gahbench.evaluation import Evaluation
from gahbench.registry import Configured, default_registry
from gahbench.scoring import checked
from gahbench.testing.findings import Finding
from gahbench.testing.samples import sample_images

SIGMAS = (0.1, 0.6, 0.7, 0.8)
COUNT = 5


class _Shrinks(Reference):
    """A denoiser that is bad in a known way: it leaves a share of the noise."""

    kind: DenoiserKind = "oracle"

    def __init__(self, share: float) -> None:
        self.share = share
        # For metrics of the basis that a denoiser shrinks in.
        self.basis: Basis = default_registry().create("basis", "dct")

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        return truth.clean + self.share * (noisy - truth.clean)


def check_metric(configured: Configured) -> Iterator[Finding]:
    """Check the layout of a metric's scores, that they repeat, and that they tell a good denoiser from a bad one."""
    metric = configured.build()
    if not isinstance(metric, Metric):
        yield Finding("is a gahbench.Metric", False, f"it is a {type(metric).__name__}")
        return

    def score(share: float) -> Scores:
        evaluation = Evaluation(_Shrinks(share), sample_images(COUNT, (1, 64, 64)), SIGMAS)
        return checked(metric.score(evaluation), SIGMAS, COUNT)

    try:
        values = list(score(0.9).value)
    except (TypeError, ValueError) as error:
        yield Finding("returns scores that can be kept", False, str(error))
        return
    yield Finding("returns scores that can be kept", True, f"{len(values)} values")
    if not values:
        yield Finding("has a value for every denoiser", None, "none for one that only denoises: nothing more to check")
        return
    yield Finding("is deterministic", values == list(score(0.9).value))
    good, bad = sum(score(0.1).value) / len(values), sum(values) / len(values)
    better = good >= bad - 1e-6 if metric.higher_is_better else good <= bad + 1e-6
    yield Finding("is not worse for a better denoiser", better, f"{good:.4g} against {bad:.4g}")
