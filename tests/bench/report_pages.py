"""How long a report takes to make and to open, and how large it is.

    python tests/bench/report_pages.py [--datasets 5] [--entrants 20] [--levels 10] [--images 100] [--smoke]

Of made-up scores: the defaults are 100,000. Opening is measured in Chromium, where it and Playwright are installed,
until the scripts have run and the first screen is drawn.
"""

import argparse
import importlib.util
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import smoke

from gahbench.board.results import Results
from gahbench.board.schemas import empty
from gahbench.registry.registry import open_registry
from gahbench.report.page.report import write_report
from gahbench.report.publish import publish


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=int, default=5)
    parser.add_argument("--entrants", type=int, default=20)
    parser.add_argument("--levels", type=int, default=10, help="noise levels")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3, help="of opening")
    options = smoke.parse(parser, "--datasets 1 --entrants 3 --levels 2 --images 4 --rounds 1")
    with tempfile.TemporaryDirectory() as name:
        folder, page = Path(name) / "results", Path(name) / "report.html"
        results = made_up(options.datasets, options.entrants, options.levels, options.images)
        # Without the pictures of its figures, which the page has no use for.
        with mock.patch("gahbench.report.figures.encode", return_value=b""):
            publish(results, folder, "0" * 64)
        registry = open_registry()
        begun, used = time.perf_counter(), time.process_time()
        size = write_report(folder, page, registry)
        took, used = time.perf_counter() - begun, time.process_time() - used
        print(f"{len(results.scores)} scores of {options.entrants} entrants on {options.datasets} datasets")
        print(f"made in {took:.1f} s, of the processor {used:.1f} s; {size / 1e6:.2f} MB")
        opened = opening(page, options.rounds)
        print(f"opened in {statistics.median(opened):.2f} s (median)" if opened else "no Chromium to open it in")


def made_up(datasets: int, entrants: int, levels: int, images: int) -> Results:
    """Return results of classical entrants, each a little better than the next."""
    generator = np.random.default_rng(0)
    sigmas = np.geomspace(0.01, 0.5, levels)
    labels = [f"threshold[wavelet[sym4,levels=3],k={place}]" for place in range(entrants)]
    grid = pd.MultiIndex.from_product(
        [[f"c-alpha[alpha={place}]" for place in range(datasets)], labels, sigmas, range(images)],
        names=["dataset", "entrant", "sigma", "image"],
    )
    scores = grid.to_frame(index=False)
    quality = 30 + 0.7 * (-20 * np.log10(scores["sigma"]) - 20) - 0.1 * scores["entrant"].map(labels.index)
    scores["value"] = quality + generator.normal(0, 1, len(scores))
    scores = scores.assign(suite="made-up", kind="classical", seed=None, split="test", metric="psnr")
    facts = {"optimum": "none", "slope": np.nan, "channels": 1, "height": 32, "width": 32, "fingerprint": ""}
    facts |= dict.fromkeys(("sources", "protocol", "notes", "spec"), "")
    known = pd.DataFrame([{"dataset": name, **facts} for name in grid.levels[0]])
    return Results("made-up", scores, empty("fits"), empty("failures"), known, labels, labels[0])


def opening(page: Path, rounds: int) -> list[float]:
    """Return the seconds from asking for the page until it is drawn and its scripts have run."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        return []
    from playwright.sync_api import sync_playwright

    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(rounds):
            tab = browser.new_page()
            begun = time.perf_counter()
            tab.goto(page.as_uri())
            # The second frame is begun when the first has been drawn.
            tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            seconds.append(time.perf_counter() - begun)
            tab.close()
        browser.close()
    return seconds


if __name__ == "__main__":
    main()
