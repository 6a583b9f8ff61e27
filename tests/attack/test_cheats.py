"""Cheats of denoisers and of fits fail or are flagged, unless SECURITY.md says "out of reach"."""

import functools
import gc
import json
import re
from pathlib import Path

import pytest
import torch
from torch.optim import optimizer

import gahbench
from gahbench.evaluation import evaluation as evaluations
from gahbench.evaluation.audit import audit, audit_repetition, check_claimed_risk
from gahbench.evaluation.measurement import Measurement, Subject
from gahbench.training import trainer
from gahbench.training.fit_checks import WatchedFit
from gahbench.training.fitting import fit
from gahbench.training.recipe import Training

from . import cheating_fits, cheating_plugins

SECURITY = Path(__file__).parents[2] / ".github" / "SECURITY.md"
REQUEST = {"split": "test", "images": 24, "sigmas": [0.005, 0.1, 0.2, 0.4], "noise_seed": 0}
TRAINING = {"steps": 4, "batch_size": 4, "compile": "never", "validations": 1}
SUITE = f"""
name: cheats
datasets: [{{c-alpha: {{alpha: 2, size: 16}}}}]
entrants: [visu-shrink, gaussian-blur, {{oracle-threshold: {{basis: haar}}}}, plain]
training: {json.dumps({**TRAINING, "sigma_min": 0.001})}
scoring: {{sigmas: [0.005, 0.1, 0.2, 0.4], images: 24, metrics: [ssim, psnr]}}
"""


def documented_outcomes(prefix="cheat"):
    """Return the outcome of each cheat in SECURITY.md: ``flagged``, ``failed`` or ``out of reach``."""
    row = rf"^\| `({prefix}-[a-z-]+)` \|[^|]*\| (flagged|failed|out of reach)\b"
    return dict(re.findall(row, SECURITY.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.fixture
def _restored(monkeypatch):
    """Restore what a cheat replaces in this process."""
    for owner, name in (
        *((evaluations, "evaluation_noise"), (trainer.Trainer, "step"), (torch.optim.Adam, "step")),
        *((trainer, "time"), (trainer, "draw_training_noise")),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    yield
    optimizer._global_optimizer_post_hooks.clear()


def score_cheat(cheat):
    """Score a cheat in this process, like a worker; return its outcome and its flags."""
    # Frames that earlier cheats have searched keep evaluations alive, as in no process of a single row.
    gc.collect()
    dataset = gahbench.create("dataset", "c-alpha", size=16)
    metrics = [gahbench.create("metric", name) for name in ("psnr", "ssim")]
    # Use a measurement for each metric, since each may be measured in a separate process.
    measurements = [Measurement(dataset, Subject(cheat), REQUEST, torch.device("cpu")) for _ in metrics]
    try:
        for measurement, metric in zip(measurements, metrics, strict=True):
            measurement.score(metric)
        check_claimed_risk(measurements[0].evaluation)
    except ValueError as error:
        return "failed", (str(error),)
    flags = (*audit(measurements[0].evaluation).flags, *audit_repetition(measurements[1].evaluation).flags)
    return ("flagged" if flags else "out of reach"), flags


def train_cheat(kind, folder):
    """Train an architecture in this process, like a row; return its outcome and its flags."""
    training = Training.model_validate(TRAINING)
    watched = WatchedFit(functools.partial(kind, 1), training, 0)
    fit(watched.build, gahbench.create("dataset", "discs", size=8), training, 0, folder, torch.device("cpu"))
    flags = watched.flags((1, 8, 8), torch.device("cpu"))
    return ("flagged" if flags else "out of reach"), flags


@pytest.mark.parametrize(("prefix", "module"), [("cheat", cheating_plugins), ("fit", cheating_fits)])
def test_security_documents_every_cheat(prefix, module):
    assert sorted(documented_outcomes(prefix)) == sorted(cheat.name for cheat in module.CHEATS)


#: A cheat that replaces the checks of its process runs in a process of its own, below.
CHEATS = [*cheating_plugins.CHEATS, *cheating_fits.CHEATS]
CHEATS.remove(cheating_plugins.NoCheck)


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.name)
def test_a_cheat_has_the_documented_outcome(cheat, tmp_path):
    prefix = cheat.name.partition("-")[0]
    outcome, flags = train_cheat(cheat, tmp_path) if prefix == "fit" else score_cheat(cheat)
    assert outcome == documented_outcomes(prefix)[cheat.name], flags


def test_the_honest_base_of_the_cheating_fits_is_not_flagged(tmp_path):
    assert train_cheat(cheating_fits.Plain, tmp_path) == ("out of reach", [])


@pytest.mark.usefixtures("figures_not_rendered")
def test_the_board_flags_cheats_and_no_honest_rows(tmp_path):
    (tmp_path / "cheats.yaml").write_text(SUITE)
    names, plugins = ["cheat-patient", "cheat-no-check", "fit-repeats-steps"], [cheating_plugins, cheating_fits]
    files = [module.__file__ for module in plugins]
    run = gahbench.run(tmp_path / "cheats.yaml", tmp_path / "out", entrants=names, plugins=files, workers=1, threads=1)
    flags = {entry.entrant: entry.flags for entry in run.results.board.entries if entry.flags}
    assert set(flags) == {names[0], names[2]}
    assert ["gahbench.training.trainer.Trainer.step" in flag for flag in flags[names[2]]] == [True]
    assert [documented_outcomes()[name] for name in names[:2]] == ["flagged", "out of reach"]
    assert len(re.findall(r"^\| [0-9–]+!", (tmp_path / "out" / "leaderboard.md").read_text(), re.MULTILINE)) == 2
    board = run.leaderboard(full=True).set_index("entrant")
    assert board.loc[names[0], "note"].startswith("flagged: ")
    assert not board["note"].str.contains("failed").any()
