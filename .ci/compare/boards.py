"""Compare the boards that two checkouts compute from the scores in ``results/``: means, intervals, ranks and texts.

The exit status is 1 if a cell differs by more than ``--tolerance``, relative to the larger of 1 and its value.
"""

import sys
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

import gahbench

KEYS = ["board", "dataset", "entrant", "column"]


def probe(file: Path, folder: Path, names: str) -> None:
    """Write the cells of all boards of a checkout that have a value."""
    tables = []
    for index in sorted(folder.glob(f"{names}/results.json")):
        results = gahbench.load_results(index.parent)
        boards = (results.leaderboard(full=True), results.over_datasets().assign(dataset="over datasets"))
        for board in filter(len, boards):
            cells = board.astype(object).melt(KEYS[1:3], var_name="column").dropna()
            tables.append(cells.assign(board=index.parent.name))
    pd.concat(tables).to_pickle(file, compression=None)


def kind_of(column: str, value: object) -> str:
    if isinstance(value, str):
        return "text"
    return "rank" if column.startswith("rank") else "interval" if column.endswith(("_low", "_high")) else "mean"


def main() -> None:
    from checkouts import merge, open_checkouts, summarize

    with ExitStack() as stack:
        arguments, pair = open_checkouts(stack, __doc__, tolerance=1e-9, lines=40)
        names = "quick" if arguments.smoke else "*"
        base, head = (side.probe(__file__, side.folder / "results", names) for side in pair)
    both = merge(base, head, KEYS)
    both["kind"] = [kind_of(*cell) for cell in zip(both["column"], both["value"], strict=True)]
    summarize(both, ["board"], arguments.tolerance)
    summarize(both, ["kind"], arguments.tolerance)
    different = both[~(both["change"] <= arguments.tolerance)]
    print(f"{both['board'].nunique()} boards, {len(different)} cells differ")
    print(different.drop(columns="kind").head(arguments.lines).to_string(index=False) if len(different) else "")
    sys.exit(bool(len(different)))


if __name__ == "__main__":
    if sys.argv[1] == "--probe":
        probe(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    else:
        main()
