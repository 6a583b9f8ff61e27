"""Cases that once caused faults, and some misbehaving plugins in a run with honest entrants."""

import pickle

import pytest

from gahbench.store.units import FinishedUnit

from . import checkpoints, folders, images
from .array_files import Hostile, npy, packed_zeros, pt
from .damage import Damage
from .image_bytes import bomb, file_with_declared_size, picture
from .misbehaving import KINDS
from .plugins import attack

VALID = [(f"{index}.png", picture("PNG", "RGB", 24, 24, index)) for index in range(8)]
HUGE = file_with_declared_size("PNG", 2**31 - 1, 2**31 - 1)
IMAGES = {
    "a bomb": images.Case("folder", [*VALID, ("x.png", bomb(13_000))], "faces", {"size": 8}),
    "a header": images.Case("folder", [*VALID, ("x.png", HUGE)], "photos", {"size": 8}),
    "gigabytes of zeros": images.Case("file", [("images.npz", packed_zeros(2 * 10**9))], "whole"),
    "no pixels": images.Case("file", [("images.npy", npy("|u1", (6, 0, 12), "zeros", False, 0))], "whole"),
    "a negative shape": images.Case("file", [("images.npy", npy("|u1", (-1, 12, 12), "zeros", False, 0))], "faces"),
    "a payload": images.Case("file", [("images.npy", npy("|O", (3,), "zeros", False, 0))], "faces"),
    "a FIFO": images.Case("file", [("fifo,.npy", b"")], "whole"),
    "an endless device": images.Case("file", [("zero,.npy", b"")], "faces"),
    "no home": images.Case("text", [("~nobody-at-all/x", b"")], "photos"),
}
#: Quick kinds of misbehaviour, each from a different group; ``python -m tests.attack plugins`` runs all kinds.
MISBEHAVING = (
    "raise-stopped",
    "sleep-in-constructor",
    "exit-at-import",
    "close-everything",
    "fork-that-stays",
    "patch-randn-at-import",
    "patch-of-metric",
)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("case", IMAGES)
def test_images_that_once_caused_faults_are_refused(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images.attempt(IMAGES[case], tmp_path)


def test_valid_weights_are_loaded_and_a_payload_that_runs_is_detected(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    valid = checkpoints.Case(".pt", pt(checkpoints.state("linear"), True), "linear", "denoise")
    checkpoints.attempt(valid, tmp_path)
    pickle.loads(pickle.dumps(Hostile()))
    assert (tmp_path / Hostile.marker).is_dir()
    with pytest.raises(AssertionError, match="a payload ran"):
        checkpoints.attempt(valid, tmp_path)


def test_forged_scores_are_detected_if_checksums_are_not_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(FinishedUnit, "read", lambda unit, name: (unit.folder / name).read_bytes())
    entries = sorted((folders.finished_run() / "out").rglob("*"))
    scores = [index for index, entry in enumerate(entries) if entry.name == "scores.csv"]
    identity = next(index for index in scores if '"identity"' in (entries[index].parent / "unit.json").read_text())
    forged = Damage("text", identity, 0, 0.0, b"sigma,image,value,part\n0.1,0,99.0,\n")
    results = next(index for index, entry in enumerate(entries) if entry.name == "results.json")
    with pytest.raises(AssertionError):
        folders.attempt([forged, Damage("delete", results, 0, 0.0, None)], tmp_path)


def test_misbehaving_plugins_affect_only_their_own_rows(tmp_path):
    assert attack([[KINDS[name] for name in MISBEHAVING]], tmp_path / "attack", unit=40.0) == {}
