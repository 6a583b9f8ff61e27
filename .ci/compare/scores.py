"""Run suites in two checkouts, with one thread and in float32, and compare their scores.

Scores of entrants that are not trained must agree to 1e-4 dB, and in other metrics to 1e-4 of the larger of 1 and the
value. Scores of trained networks must be equal bit by bit, or the change of their mean over images be within the spread
of the training seeds, and is named. The suite ``published`` reads GAHBENCH_DATA, and leaves out rows without weights.
"""

import re
import sys
from contextlib import ExitStack

import numpy as np
import pandas as pd
import yaml
from checkouts import DATA, Checkout, merge, open_checkouts, summarize

TOLERANCE = 1e-4
#: Options of ``gahbench run``, by the name of the comparison, whose first word is the suite.
SUITES = {
    "quick": "",
    "oracles": "--set scoring.images=4 --set scoring.sigmas=[0.02,0.08,0.3]",
    "published": "--set scoring.images=2 --metric spectrum --metric self-consistency --metric adaptation",
    "standard-1": "--dataset photos[size=24] --set training.steps=64 --set training.snapshots=7 --seed 0"
    " --seed 1 --metric ssim --metric doubling --metric optimum-distance --metric self-consistency",
    # Directions need 24 images.
    "standard-1 direction": "--dataset c-alpha* --set training.steps=32 --set training.snapshots=6 --seed 0 --seed 1"
    " --metric direction --metric truth-direction --only bf-cnn* --only local-blur --only wiener-linear --only guided*",
}
_PART = "--dataset discs* --only bf-cnn* --only identity --seed 0 --seed 1"
SMOKE = {"quick": f"--set training.steps=2 --set scoring.images=2 {_PART}"}
ENTRY = ["comparison", "dataset", "entrant", "kind", "split", "metric", "sigma"]


def run(checkout: Checkout, name: str, options: str) -> pd.DataFrame:
    """Run a suite in a checkout, and return its scores."""
    suite = name.partition(" ")[0]
    content = yaml.safe_load((checkout.folder / f"suites/{suite}.yaml").read_text())
    if suite == "published":
        (checkout.scratch / "published").symlink_to(DATA)
        paths = {str(item): re.findall(r"published/[\w./-]+", str(item)) for item in content["entrants"]}
        absent = [
            item for item, files in paths.items() if not all((checkout.scratch / file).exists() for file in files)
        ]
        content["entrants"] = [item for item in content["entrants"] if str(item) not in absent]
    file, out = checkout.scratch / f"{suite}.yaml", checkout.scratch / f"runs-{name.replace(' ', '-')}"
    file.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    fixed = "--threads 1 --device cpu" + " --set training.precision=float32" * ("training" in content)
    checkout.finish(checkout.start("gahbench", "run", file, "--out", out, *fixed.split(), *options.split()))
    scores = pd.read_parquet(out / "scores.parquet").assign(comparison=name)
    # Values over all images, seeds or noise levels have none.
    return scores.fillna({"seed": -1, "image": -1, "sigma": -1})


def describe(group: pd.DataFrame, base: pd.DataFrame) -> str:
    """Return how the mean of a network over images changed, compared with the spread of its training seeds."""
    own = base.merge(group[ENTRY].drop_duplicates())
    seeds, spread = group.groupby("seed"), np.ptp(own.groupby("seed")["value"].mean())
    change = (seeds["value_head"].mean() - seeds["value"].mean()).abs().max()
    return f"{'within' if change <= spread else 'BEYOND'} the spread {spread:.3g} of seeds: {change:.3g}"


def compare(base: pd.DataFrame, head: pd.DataFrame) -> bool:
    """Print what differs between the scores of two runs; return whether scores disagree or are missing."""
    both = merge(base, head, [*ENTRY, "seed", "image"])
    both["change"] *= both["value"].abs().clip(lower=1).where(both["metric"] == "psnr", 1.0)
    summarize(both, ["comparison", "kind"], TOLERANCE)
    changed = both[both["change"] > np.where(both["kind"] == "trained", 0, TOLERANCE)]
    verdicts = [
        " | ".join([*map(str, key), describe(group, base) if key[3] == "trained" else f"{group['change'].max():.3g}"])
        for key, group in changed.groupby(ENTRY)
    ]
    print(*verdicts, sep="\n", flush=True)
    return not all(" within the spread " in verdict for verdict in verdicts)


def main() -> None:
    with ExitStack() as stack:
        arguments, pair = open_checkouts(stack, __doc__, only="")
        suites = SMOKE if arguments.smoke else SUITES
        chosen = [name for name in suites if not arguments.only or name.split()[0] in arguments.only.split(",")]
        if not DATA.is_dir() and "published" in chosen:
            print("published: skipped, since GAHBENCH_DATA is no folder")
            chosen.remove("published")
        differ = [compare(*(run(checkout, name, suites[name]) for checkout in pair)) for name in chosen]
    sys.exit(any(differ) or not chosen)


if __name__ == "__main__":
    main()
