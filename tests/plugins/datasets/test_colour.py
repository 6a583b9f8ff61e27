"""Images of three channels go through everything: training, scoring, references, the board and the figures."""

import numpy as np
import pytest

from gahbench import run

SUITE = """
name: colours
datasets:
  - photos: {size: 16, colour: rgb}
  - faces: {path: FACES, colour: rgb}
entrants:
  - unet: {width: 2, levels: 1}
  - identity
  - bayes-shrink
  - oracle-threshold: {basis: [haar, dct]}
  - oracle-shrink: {basis: sym4}
baseline: oracle-threshold[haar]
training: {steps: 12, batch_size: 4, compile: never, validations: 2, validation_images: 2}
scoring: {sigmas: [0.1, 0.3], images: 3, metrics: [psnr, ssim, slope]}
"""


def test_a_suite_in_colour_runs_to_the_end(tmp_path):
    np.savez(tmp_path / "faces.npz", images=np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8))
    file = tmp_path / "colours.yaml"
    file.write_text(SUITE.replace("FACES", str(tmp_path / "faces.npz")))
    outcome = run(file, tmp_path / "out", engine="inline")
    assert outcome.failed == 0
    board = outcome.leaderboard(full=True)
    assert board["dataset"].value_counts().to_dict() == {
        "photos[size=16,colour=rgb]": 6,
        "faces[faces.npz,colour=rgb]": 6,
    }
    assert board["psnr"].notna().all()
    # The noise alone: -20 log10 of its standard deviation, averaged over both.
    identity = board.set_index("entrant")["psnr"]["identity"].to_numpy()
    assert identity == pytest.approx([-10 * np.log10(0.1 * 0.3)] * 2, abs=0.3)
    assert len(list((tmp_path / "out" / "figures").glob("*.svg"))) == 2
