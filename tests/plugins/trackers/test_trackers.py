"""Output of trackers, read back by their packages or from files."""

import csv
import io
import json
import struct

import pytest

import gahbench
from gahbench.runs.watch import row_name
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store

# Ignore deprecation warnings between the tracking packages.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

UNET = "unet[width=2,levels=1] on sinusoids[size=16] (seed 0)"


@pytest.fixture
def run_with_tracker(write_suite, tmp_path, figures_not_rendered):
    """Return a function that runs the tiny suite with a tracker.

    It returns the results folder, the loss and the PSNR of the fit, and the mean score of each row.

    The loss and the PSNR are those at the end of the only fit, and a mean score is that of the stored values.
    """

    def run(tracker):
        out = tmp_path / "followed"
        outcome = gahbench.run(write_suite(), out, engine="inline", track=[tracker])
        assert outcome.failed == 0
        (history,) = out.glob("units/fit-*/history.csv")
        last = list(csv.DictReader(io.StringIO(history.read_text())))[-1]
        levels = [float(value) for name, value in last.items() if name.startswith("psnr@")]
        scores = {}
        for unit in require_plan(out).units:
            if unit.metric == "psnr":
                result = [value for sigma, _, value, _ in Store(out).read_scores(unit) if sigma == 0.1]
                scores[row_name(unit)] = sum(result) / len(result)
        assert len(scores) == 3
        return out, {"loss": float(last["loss"]), "validation_psnr": sum(levels) / len(levels)}, scores

    return run


@pytest.mark.extras("tensorboard")
def test_tensorboard_limits_open_files_without_losing_rows(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from gahbench_plugins.trackers import tensorboard

    monkeypatch.setattr(tensorboard, "MAX_OPEN", 2)
    tracker = gahbench.create("tracker", "tensorboard")
    tracker.run_started(tmp_path, {})
    for step in range(3):
        for row in "abc":
            tracker.log_training(row, step, {"loss": float(step)})
    tracker.run_finished(None)
    for row in "abc":
        result = EventAccumulator(str(tmp_path / "tensorboard" / row)).Reload().Scalars("loss")
        # The order of the files of a row follows their names, which hold whole seconds.
        assert sorted((entry.step, entry.value) for entry in result) == [(0, 0.0), (1, 1.0), (2, 2.0)]


@pytest.mark.extras("tensorboard")
def test_tensorboard_has_curves_scores_suite_and_board(run_with_tracker):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, trained, scores = run_with_tracker("tensorboard")

    def events(row):
        return EventAccumulator(str(out / "tensorboard" / row)).Reload()

    for name, value in trained.items():
        points = events(UNET).Scalars(name)
        assert [point.step for point in points] == sorted({point.step for point in points})
        assert (points[-1].step, points[-1].value) == (12, pytest.approx(value, rel=1e-6))
    for row, mean in scores.items():
        assert [point.value for point in events(row).Scalars("psnr/0.1")] == [pytest.approx(mean, rel=1e-6)]
    texts = {
        name: events("").Tensors(f"{name}/text_summary")[0].tensor_proto.string_val[0].decode()
        for name in ("suite", "leaderboard")
    }
    assert json.loads(texts["suite"])["entrants"] == ["unet[width=2,levels=1]", "identity", "oracle-threshold[haar]"]
    assert texts["leaderboard"] == (out / "leaderboard.md").read_text(encoding="utf-8")


@pytest.mark.extras("wandb")
def test_wandb_has_curves_scores_suite_and_board_offline(run_with_tracker):
    import wandb

    out, trained, scores = run_with_tracker("wandb")
    # The service of wandb still writes after a run has ended. Once the service itself has ended, all is written.
    wandb.teardown()
    runs = {}
    for file in out.glob("wandb/offline-run-*/run-*.wandb"):
        result = list(_records(file))
        (run,) = {record.run.display_name: record.run for record in result if record.HasField("run")}.values()
        assert (run.project, run.run_group) == ("tiny", out.name)
        summary = {
            "/".join((item.key, *item.nested_key)).strip("/"): json.loads(item.value_json)
            for record in result
            for item in record.summary.update
        }
        runs[run.display_name] = {item.key: json.loads(item.value_json) for item in run.config.update}, summary
    assert set(runs) == {out.name, *scores}
    for row, mean in scores.items():
        assert runs[row][1]["psnr/0.1"] == pytest.approx(mean)
    config, summary = runs[UNET]
    assert config["training"]["steps"] == summary["step"] == 12
    assert {name: summary[name] for name in trained} == pytest.approx(trained)
    assert runs[out.name][0]["metrics"] == ["psnr", "slope"]
    (board,) = out.glob("wandb/offline-run-*/files/media/table/leaderboard_*.json")
    table = json.loads(board.read_text())
    entrants = table["columns"].index("entrant")
    assert {row[entrants] for row in table["data"]} == {row.split(" on ")[0] for row in scores}


def _records(file):
    """Read the records of a file of wandb: blocks of 32 KiB of pieces, each with checksum, length and kind."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, offset, record = file.read_bytes(), 7, b""
    while offset + 7 <= len(content):
        if (left := 32768 - offset % 32768) < 7:
            offset += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, offset)
        record += content[offset + 7 : offset + 7 + length]
        offset += 7 + length
        # Type 1 is a complete record, type 4 the last piece of a record.
        if kind in (1, 4):
            yield Record.FromString(record)
            record = b""
