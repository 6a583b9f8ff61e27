"""Architectures that train more than their recipe allows are flagged, unless SECURITY.md says "out of reach"."""

import functools

import pytest
import torch
from torch.optim import optimizer

import gahbench
from gahbench.training import trainer
from gahbench.training.fit_checks import WatchedFit
from gahbench.training.fitting import fit
from gahbench.training.recipe import Training

from . import cheating_fits, cheats

SUITE = """
name: fits
datasets: [{c-alpha: {alpha: 2, size: 8}}]
entrants: [plain]
training: {steps: 4, batch_size: 4, compile: never, validations: 1}
scoring: {sigmas: [0.1], images: 6, metrics: [psnr]}
"""


@pytest.fixture
def _restored(monkeypatch):
    """Restore the functions that a cheat replaces in this process."""
    monkeypatch.setattr(trainer.Trainer, "step", trainer.Trainer.step)
    monkeypatch.setattr(torch.optim.Adam, "step", torch.optim.Adam.step)
    monkeypatch.setattr(trainer, "time", trainer.time)
    monkeypatch.setattr(trainer, "draw_training_noise", trainer.draw_training_noise)
    yield
    optimizer._global_optimizer_post_hooks.clear()


def flags_of(kind, folder):
    """Train an architecture in this process, like a row, and return its flags."""
    training = Training.model_validate({"steps": 4, "batch_size": 4, "compile": "never", "validations": 1})
    watched = WatchedFit(functools.partial(kind, 1), training, 0)
    fit(watched.build, gahbench.create("dataset", "discs", size=8), training, 0, folder, torch.device("cpu"))
    return watched.flags((1, 8, 8), torch.device("cpu"))


def test_security_documents_every_cheating_fit():
    assert sorted(cheats.documented_outcomes("fit")) == sorted(kind.name for kind in cheating_fits.CHEATS)


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("kind", cheating_fits.CHEATS, ids=lambda kind: kind.name)
def test_a_cheating_fit_has_the_documented_outcome(kind, tmp_path):
    flags = flags_of(kind, tmp_path)
    assert ("flagged" if flags else "out of reach") == cheats.documented_outcomes("fit")[kind.name], flags


def test_the_honest_base_of_the_cheats_is_not_flagged(tmp_path):
    assert flags_of(cheating_fits.Plain, tmp_path) == []


@pytest.mark.usefixtures("figures_not_rendered")
def test_the_board_shows_flags_of_a_fit(tmp_path):
    suite = tmp_path / "fits.yaml"
    suite.write_text(SUITE, encoding="utf-8")
    run = gahbench.run(
        suite, tmp_path / "out", entrants=["fit-repeats-steps"], plugins=[cheating_fits.__file__], workers=1, threads=1
    )
    flags = {entry.entrant: entry.flags for entry in run.results.board.entries}
    assert flags["plain"] == ()
    (flag,) = flags["fit-repeats-steps"]
    assert flag == "code of its training was replaced in its process: gahbench.training.trainer.Trainer.step"
