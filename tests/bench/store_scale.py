"""Measure the store: the times of commands on a results folder with many units.

    python tests/bench/store_scale.py [--units 10000]

The units are scores of references on tiny images.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import harness

from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store


def main():
    options = harness.options(__doc__, "--units 4", units=10_000)
    with tempfile.TemporaryDirectory() as name:
        suite, folder = Path(name) / "scale.yaml", Path(name) / "out"
        suite.write_text(suite_of(options.units))
        run = ["run", str(suite), "--out", str(folder), "--threads", "1"]
        time_command("plan", ["plan", str(suite), "--out", str(folder)])
        seconds = time_command("run", run)
        units = require_plan(folder).units
        assert len(Store(folder).examine(units).undamaged) == len(units)
        print(f"{len(units)} units, {len(units) / seconds:.1f} units/s")
        time_command("status", ["status", str(folder)])
        time_command("leaderboard", ["leaderboard", str(folder)])
        time_command("plan again", ["plan", str(suite), "--out", str(folder)])
        time_command("run again", run)


def suite_of(count):
    """Return a suite of about as many units."""
    datasets = min(20, count // 2)
    entrants = count // (2 * datasets)
    shares = ", ".join(f"{(number + 1) / (entrants + 1):.6f}" for number in range(entrants))
    sizes = ", ".join(str(8 + size) for size in range(datasets))
    return (
        f"name: scale\ndatasets:\n  - discs: {{size: [{sizes}]}}\nentrants:\n  - low-pass: {{share: [{shares}]}}\n"
        "scoring: {sigmas: [0.1, 0.2], images: 1, metrics: [psnr, slope]}\n"
    )


def time_command(title, command):
    """Run a command of gahbench, print its time, and return it in seconds."""
    command = [sys.executable, "-m", "gahbench", *command]
    seconds, _ = harness.time_call(lambda: subprocess.run(command, capture_output=True, check=True))
    print(f"{title}: {seconds:.1f} s")
    return seconds


if __name__ == "__main__":
    main()
