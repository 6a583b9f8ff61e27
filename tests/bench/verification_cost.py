"""What checksums cost in a folder of 10,000 units: in collecting it, and before a run in it begins.

    python tests/bench/verification_cost.py [--units 10000] [--images 20] [--rounds 3] [--smoke]

Without them, files are opened for their sizes, and those of scores are read. Both are measured in turn, in one process,
on files that the system has in memory.
"""

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from gahbench._util.keys import key_of
from gahbench.contracts.scoring import Scores
from gahbench.contracts.unit import Unit
from gahbench.store import finished
from gahbench.store.plan_file import RecordedPlan, RecordedUnit, recorded_plan, write_plan
from gahbench.store.score_files import write_scores
from gahbench.store.store import Store

SIGMAS = (0.03, 0.06, 0.12, 0.25, 0.5)
#: As a worker records it with each unit.
ENVIRONMENT = {"threads": 1, **dict.fromkeys(("python", "device", "processor"), "0.0.0")}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=20, help="images of each score, at five noise levels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="few units, once")
    options = parser.parse_args()
    if options.smoke:
        options.units, options.rounds = 50, 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_units(folder, options.units, options.images)
        units, store = recorded_plan(folder).shown, Store(folder)
        parts: dict[str, Callable[[], object]] = {
            "units of a board, examined": lambda: store.examined(units),
            "and their scores read for a new one": lambda: read(store, units),
            "what a run does before it begins": lambda: store.set_aside(units),
        }
        for title, part in parts.items():
            checked, others = [], []
            for _ in range(options.rounds):
                checked.append(timed(part))
                with unchecked():
                    others.append(timed(part))
            one, other = statistics.median(checked), statistics.median(others)
            print(f"{title}: {one:.2f} s, without checksums {other:.2f} s, they cost {one - other:+.2f} s")


def read(store: Store, units: list[Unit]) -> int:
    """Return the number of values in all scores."""
    found = store.examined(units, keep=True)
    return sum(len(found.scores(unit.folder)) for unit in units)


def write_units(folder: Path, count: int, images: int) -> None:
    """Write a folder of finished scores."""
    units = [score(number) for number in range(count)]
    store = Store(folder)
    scores = Scores(
        [20.0 + image + sigma for sigma in SIGMAS for image in range(images)],
        [sigma for sigma in SIGMAS for _ in range(images)],
        [image for _ in SIGMAS for image in range(images)],
    )
    facts = {"kind": "classical", "seconds": 0.1, "notes": [], "networks": {}, "environment": ENVIRONMENT}
    with mock.patch("os.fsync"):
        for unit in units:
            attempt = store.begin(unit)
            write_scores(attempt.folder, scores)
            attempt.finish(facts, keep=("scores.csv",))
    labels = list(dict.fromkeys(unit.entrant for unit in units))
    board = {"baseline": None, "entrants": labels, "trainings": {}, "needs": {"psnr": []}}
    board |= {key: [] for key in ("datasets", "metrics", "ratios", "citations", "refused")}
    write_plan(folder, RecordedPlan("cost", tuple(map(RecordedUnit, units)), board, 1))


def score(number: int) -> Unit:
    """Return a unit with a document of the usual size."""
    dataset = {"source": "0" * 64, "parameters": dict.fromkeys("abcdef", number), "nested": {}, "fingerprint": None}
    document = {"code": "1" * 64, "dataset": dataset, "metric": {"source": "2" * 64}, "sigmas": SIGMAS, "images": 20}
    document["entrant"] = {"source": "3" * 64, "parameters": {"number": number}}
    place = f"d{number // 100}", f"e{number % 100}"
    plugin = {"name": "discs", "parameters": {"number": number}, "identity": "0" * 64, "origins": [], "label": place[0]}
    payload = {"dataset": plugin, "sigmas": list(SIGMAS), "images": 20, "split": "test"}
    key = key_of(document)
    return Unit("score", key, *place, "reference", None, "test", "psnr", None, "c", 0.0, payload, document=document)


def timed(part: Callable[[], object]) -> float:
    """Return the processor seconds that something takes."""
    started = time.process_time()
    part()
    return time.process_time() - started


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Compare no checksums, and no records of units with what was planned."""

    def open_unchecked(folder: Path, unit: Unit) -> finished.Finished:
        return finished.Finished(folder, unit, json.loads((folder / "done.json").read_bytes()), "")

    def read_unchecked(self: finished.Finished, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def check_unchecked(self: finished.Finished, name: str, *, whole: bool = True) -> None:
        with (self.folder / name).open("rb") as file:
            assert os.fstat(file.fileno()).st_size == self.done["files"][name]["bytes"]

    with (
        mock.patch("gahbench.store.finished.open_finished", open_unchecked),
        mock.patch.multiple(finished.Finished, read=read_unchecked, check=check_unchecked),
    ):
        yield


if __name__ == "__main__":
    main()
