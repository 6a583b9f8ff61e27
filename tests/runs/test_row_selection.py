"""Tests of selecting rows of a results folder, and finding the files of networks."""

import json
import subprocess
import sys

import pytest
from tiny_runs import UNET, run

from gahbench._util.errors import ResultsError
from gahbench.runs.status import weights

pytestmark = pytest.mark.usefixtures("figures_not_rendered", "rows_not_audited")


def test_weights_returns_the_files_of_finished_fits(write_suite, tmp_path):
    out = tmp_path / "out"
    suite = write_suite(("training: {", "seeds: [0, 3]\ntraining: {snapshots: 3, "))
    run(suite, out)
    fits = weights(out, UNET)
    assert [(fit.dataset, fit.entrant, fit.seed, fit.split) for fit in fits] == [
        ("discs[size=16]", UNET, seed, None) for seed in (0, 3)
    ]
    for fit in fits:
        assert fit.history.read_text().startswith("step")
        assert list(fit.snapshots) == sorted(fit.snapshots)
        assert all(path.is_file() for path in (fit.weights, *fit.snapshots.values()))
    with pytest.raises(ResultsError, match=r"trained entrants identity are not in the results; accepted: unet"):
        weights(out, "identity")
    # A damaged fit is left out.
    (out / "units" / fits[0].weights.parent.name / "done.json").unlink()
    with pytest.warns(UserWarning, match="1 finished unit was damaged, and left out here"):
        assert [fit.seed for fit in weights(out, UNET)] == [3]


def test_the_commands_print_their_outcome_and_the_board(write_suite, tiny_run, command, tmp_path):
    suite, first, out = write_suite(), tiny_run, tmp_path / "new"

    def call(name, *arguments):
        status, printed, errors = command(name)(*arguments)
        assert status == 0, errors
        return printed, errors

    _, errors = call("run", suite, "--out", out, "--reuse", first, "--engine", "inline")
    assert "7 units taken from other folders, 1 fit among them" in errors
    assert "to do: 0 of 7 units" in call("plan", suite, "--out", out)[0]
    printed, _ = call("weights", out, "--entrant", UNET)
    dataset, seed, weights, history, label = printed.strip().split("\t")
    assert (dataset, seed, label) == ("discs[size=16]", "0", UNET)
    assert (weights.split("/")[-1], history.split("/")[-1]) == ("weights.safetensors", "history.csv")
    assert call("weights", out, "--entrant", "un*")[0] == printed
    (record,) = json.loads(call("weights", out, "-e", UNET, "--json")[0])
    assert (record["weights"], record["seed"], record["snapshots"]) == (weights, 0, {})


def test_weights_are_found_without_torch(out, tmp_path):
    count = f"import sys; from gahbench.runs.status import weights; print(len(weights('out', {UNET!r})))"
    code = f"{count}; print('torch' in sys.modules)"
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert completed.stdout.split() == ["1", "False"], completed.stderr
