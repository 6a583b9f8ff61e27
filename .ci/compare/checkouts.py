"""Two checkouts of gahbench that are compared, each with an environment in its ``.venv``.

Scripts take ``BASE HEAD``, and ``--smoke`` for small inputs. Commands have one thread, and a home of their own.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

DATA = Path(os.environ.get("GAHBENCH_DATA", "no GAHBENCH_DATA")).resolve()


@dataclass(frozen=True)
class Checkout:
    name: str
    folder: Path
    scratch: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GAHBENCH_", "PYTHON"))}
        fixed = {"HOME": self.scratch, "GAHBENCH_CACHE": self.scratch / "cache", "OMP_NUM_THREADS": 1, "COLUMNS": 120}
        return kept | {name: str(value) for name, value in fixed.items()}

    def start(self, program: str, *words: str | Path) -> subprocess.Popen[bytes]:
        """Start a program of the environment in the scratch folder, with its output in the file ``log``."""
        with (self.scratch / "log").open("wb") as log:
            command = [self.folder / ".venv/bin" / program, *words]
            return subprocess.Popen(command, cwd=self.scratch, env=self.environment, stdout=log, stderr=log)

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for a program; if it fails, exit with the end of its output."""
        if process.wait():
            end = (self.scratch / "log").read_text(errors="replace")[-3000:]
            sys.exit(f"{self.name}: {' '.join(map(str, process.args))}\n{end}")  # type: ignore[arg-type]

    def probe(self, script: str, *words: str | Path) -> pd.DataFrame:
        """Run ``script --probe FILE WORDS`` with the Python of the checkout, and return the table in the file."""
        self.finish(self.start("python", "-P", script, "--probe", self.scratch / "table", *words))
        return pd.read_pickle(self.scratch / "table", compression=None)


def open_checkouts(stack: ExitStack, description: str | None, **options: Any) -> tuple[Any, list[Checkout]]:
    """Parse ``BASE HEAD [--smoke]`` and further options, given by their defaults, and print what is compared."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, metavar="BASE", help="a checkout with an environment in .venv")
    parser.add_argument("head", type=Path, metavar="HEAD", help="another checkout, or the same")
    parser.add_argument("--smoke", action="store_true", help="compare small inputs")
    for name, default in options.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"default: {default}")
    arguments = parser.parse_args()
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-")))
    pair = [Checkout(name, getattr(arguments, name).resolve(), scratch / name) for name in ("base", "head")]
    for checkout in pair:
        if not (checkout.folder / ".venv/bin/python").exists():
            parser.error(f"{checkout.folder} has no environment; expected {checkout.folder}/.venv/bin/python")
        (checkout.scratch / "cache").mkdir(parents=True)
        git = ["git", "-C", checkout.folder, "describe", "--always", "--dirty", "--abbrev=8"]
        print(
            f"{checkout.name}:", subprocess.run(git, capture_output=True, text=True).stdout.strip() or checkout.folder
        )
    return arguments, pair


def show(table: pd.DataFrame) -> None:
    print(table.to_string(index=False, float_format="{:.3g}".format, na_rep="-"), flush=True)


def merge(base: pd.DataFrame, head: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return two tables side by side, with the change of each value, relative to the larger of 1 and the value.

    The change of a text, and of a value that is only in one table, is infinite.
    """
    both = base.merge(head, on=keys, how="outer", suffixes=("", "_head"), indicator="side")
    old, new = (pd.to_numeric(both[name], errors="coerce") for name in ("value", "value_head"))
    is_equal = (both["value"] == both["value_head"]) | (both["side"].eq("both") & old.isna() & new.isna())
    both["change"] = ((old - new).abs() / old.abs().clip(lower=1)).fillna(math.inf).mask(is_equal, 0.0)
    return both


def summarize(both: pd.DataFrame, by: list[str], tolerance: float) -> None:
    """Print how many values agree in each group."""
    columns = {
        "compared": both["side"] == "both",
        "equal": both["change"] == 0,
        "within tolerance": both["change"] <= tolerance,
        "only in base": both["side"] == "left_only",
        "only in head": both["side"] == "right_only",
    }
    counts = both[by].assign(**columns).groupby(by).sum()
    show(counts.assign(largest=both[both["side"] == "both"].groupby(by)["change"].max()).reset_index())
