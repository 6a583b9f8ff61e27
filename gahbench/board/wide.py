"""The board as one wide table for readers: a row for each dataset and entrant, a column for each value."""

from __future__ import annotations

from dataclasses import asdict, astuple
from typing import TYPE_CHECKING, Any

from gahbench._util.readable import level_name
from gahbench.board.board import OWN, Board, Value

if TYPE_CHECKING:
    import pandas as pd

_HEAD = ("suite", "dataset", "rank", "rank_high", "entrant", "kind")
_ENDS = ("", "_low", "_high")
#: By quantity, in the order of the columns; there is no interval of a difference from a constant.
_PSNR = (*(f"psnr{{level}}{end}" for end in _ENDS), "gain_over_noisy{level}")
_GAIN = tuple(f"gain_over_baseline{{level}}{end}" for end in _ENDS)
_DEFICIT = tuple(f"deficit{part}{{level}}{end}" for part in ("", "_min") for end in _ENDS)
_KL = tuple(f"kl{part}{end}" for part in ("", "_min") for end in _ENDS)
_SLOPE = tuple(f"slope{end}" for end in _ENDS)
_FACTS = ("optimal_slope", "optimum", "parameters", "train_seconds", "seeds")
_PER_LEVEL = (*_PSNR, *_GAIN, *_DEFICIT)
_OVERALL = tuple(name.format(level="") for name in _PER_LEVEL)
_OWN = (*_HEAD, *_OVERALL, *_KL, *_SLOPE, *_FACTS)
#: A metric that has one of these names is called ``metric NAME`` on boards.
RESERVED = frozenset({*_OWN, "note"})
#: Columns of a summary.
SHORT = (
    "dataset", "rank", "entrant", "kind", "psnr", "psnr_low", "psnr_high", "gain_over_baseline", "deficit", "slope",
    "parameters", "seeds", "note",
)  # fmt: skip
_COUNTS = ("rank", "rank_high", "parameters", "seeds")
_TEXTS = ("suite", "dataset", "entrant", "kind", "optimum", "note")


def short_table(board: Board) -> pd.DataFrame:
    """Return what a summary shows of a board: means over noise levels and facts, without columns that are empty."""
    wide = wide_table(board)
    return wide[[name for name in SHORT if wide[name].notna().any() and (wide[name] != "").any()]]


def wide_table(board: Board) -> pd.DataFrame:
    """Return a board as one table."""
    import pandas as pd

    rows: dict[tuple[str, str], dict[str, Any]] = {
        (entry.dataset, entry.entrant): {"suite": board.suite, **asdict(entry)} for entry in board.entries
    }
    for value in board.values:
        if (row := rows.get((value.dataset, value.entrant))) is not None:
            row |= dict(zip(_names(value), astuple(value.estimate), strict=True))
    columns = _columns(board)
    table = pd.DataFrame(list(rows.values()), columns=pd.Index(columns))
    kinds = dict.fromkeys(columns, "float64") | dict.fromkeys(_COUNTS, "Int64")
    table = table.astype({name: kind for name, kind in kinds.items() if name not in _TEXTS})
    return table.astype(dict.fromkeys(_TEXTS, "str"))


def _stem(value: Value) -> str:
    """Return the beginning of the names of a value's columns."""
    return f"{value.metric}{'_' if value.metric in OWN else '.'}{value.part}" if value.part else value.metric


def column_name(value: Value) -> str:
    """Return the column of a value."""
    return f"{_stem(value)}{'' if value.sigma is None else f'@{level_name(value.sigma)}'}"


def _names(value: Value) -> list[str]:
    """Return the columns of a value and the ends of its interval."""
    return [f"{column_name(value)}{end}" for end in _ENDS]


def _columns(board: Board) -> list[str]:
    """Return the columns in an order that depends only on the content of the results."""
    levels = sorted({value.sigma for value in board.values if value.metric == "psnr" and value.sigma is not None})
    at_levels = [name.format(level=f"@{level_name(sigma)}") for sigma in levels for name in _PER_LEVEL]
    others = {
        (_stem(value), -1.0 if value.sigma is None else value.sigma, end): name
        for value in board.values
        if value.metric not in OWN
        for end, name in zip(_ENDS, _names(value), strict=True)
    }
    return [*_OWN, *at_levels, *(others[key] for key in sorted(others)), "note"]
