"""Whole runs on the stand-in, in worker processes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sample_files import TINY

import gahbench
from gahbench.devices import stand_in

pytestmark = pytest.mark.skipif(not stand_in.is_supported(), reason="torch has no Python backends, since it is too old")
#: With Jacobians and samples.
SUITE = (
    TINY.replace("discs: {size: 16}", "gaussian-field: {size: 12}")
    .replace("metrics: [psnr, slope]", "metrics: [psnr, slope, ssim, spectrum, sample-quality]")
    .replace("scoring: {", "scoring: {sampling: {count: 2, max_steps: 30}, ")
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Results of the suite on the CPU, and on two stand-ins, and the folder of these."""
    folder = tmp_path_factory.mktemp("runs")
    suite = folder / "tiny.yaml"
    suite.write_text(SUITE, encoding="utf-8")
    gahbench.run(suite, out=folder / "cpu", device="cpu", workers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STANDIN_VISIBLE_DEVICES", "4,7")
        gahbench.run(suite, out=folder / "standin", device="standin", workers=2)
    return gahbench.load_results(folder / "cpu"), gahbench.load_results(folder / "standin"), folder / "standin"


def test_the_scores_are_those_of_the_cpu(runs):
    """Float32 rounds by 6e-8; fits of 12 steps and spectra make that larger."""
    here, there, _ = runs
    assert len(here.failures) == len(there.failures) == 0
    names = [name for name in here.scores.columns if name != "value"]
    both = here.scores.merge(there.scores, on=names, suffixes=("_here", "_there"), how="outer")
    assert len(both) == len(here.scores) == len(there.scores) > 0
    assert np.allclose(both.value_there, both.value_here, rtol=1e-5, atol=1e-6, equal_nan=True)
    scored = both[both.metric.isin(["psnr", "slope", "ssim"])]
    assert np.allclose(scored.value_there, scored.value_here, rtol=0, atol=1e-6)


def test_the_board_is_that_of_the_cpu(runs):
    here, there = (results.leaderboard() for results in runs[:2])
    assert list(here["entrant"]) == list(there["entrant"])
    assert np.allclose(here["psnr"], there["psnr"], rtol=0, atol=1e-6)


def test_both_devices_have_units(runs):
    records = [json.loads(file.read_text(encoding="utf-8")) for file in runs[2].glob("units/*/done.json")]
    devices = {record["environment"]["device"] for record in records}
    assert devices == {"stand-in 4", "stand-in 7"}
