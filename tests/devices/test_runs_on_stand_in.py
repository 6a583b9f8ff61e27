"""Runs of a suite on the stand-in GPU, in worker processes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sample_files import TINY
from tiny_runs import render_no_figures

import gahbench
from gahbench.devices import stand_in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not stand_in.is_supported(), reason="torch is too old for Python backends"),
]
#: The tiny suite with additional metrics that use Jacobians and samples.
SUITE = (
    TINY.replace("discs: {size: 16}", "gaussian-field: {size: 12}")
    .replace("metrics: [psnr, slope]", "metrics: [psnr, slope, ssim, spectrum, sample-quality]")
    .replace("scoring: {", "scoring: {sampling: {count: 2, max_steps: 30}, ")
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return the results on the CPU, the results on two stand-in GPUs, and the folder of the latter."""
    folder = tmp_path_factory.mktemp("runs")
    suite = folder / "tiny.yaml"
    suite.write_text(SUITE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        render_no_figures(patch)
        gahbench.run(suite, out=folder / "cpu", device="cpu", engine="inline")
        patch.setenv("STANDIN_VISIBLE_DEVICES", "4,7")
        gahbench.run(suite, out=folder / "standin", device="standin", workers=2)
    return gahbench.load_results(folder / "cpu"), gahbench.load_results(folder / "standin"), folder / "standin"


def test_scores_agree_with_the_cpu(runs):
    """Fits of 12 steps and spectra amplify the rounding of float32, 6e-8."""
    cpu, standin, _ = runs
    assert len(cpu.failures) == len(standin.failures) == 0
    names = [name for name in cpu.scores.columns if name != "value"]
    both = cpu.scores.merge(standin.scores, on=names, suffixes=("_cpu", "_standin"), how="outer")
    assert len(both) == len(cpu.scores) == len(standin.scores) > 0
    assert np.allclose(both.value_standin, both.value_cpu, rtol=1e-5, atol=1e-6, equal_nan=True)
    scored = both[both.metric.isin(["psnr", "slope", "ssim"])]
    assert np.allclose(scored.value_standin, scored.value_cpu, rtol=0, atol=1e-6)


def test_the_leaderboard_agrees_with_the_cpu(runs):
    cpu, standin = (results.leaderboard() for results in runs[:2])
    assert list(cpu["entrant"]) == list(standin["entrant"])
    assert np.allclose(cpu["psnr"], standin["psnr"], rtol=0, atol=1e-6)


def test_both_devices_compute_units(runs):
    records = [json.loads(file.read_text(encoding="utf-8")) for file in runs[2].glob("units/*/done.json")]
    devices = {record["environment"]["device"] for record in records}
    assert devices == {"stand-in 4", "stand-in 7"}
