"""The board as nested JSON, for programs: datasets, their entrants, their noise levels."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gahbench.board.leaderboard import level_name, noise_levels, other_columns
from gahbench.board.schemas import plain
from gahbench.evaluation.rates import input_psnr

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results

_PLAIN = ("entrant", "kind", "rank", "tie_group", "parameters", "train_seconds", "seeds", "note")


def to_json(board: pd.DataFrame, results: Results) -> str:
    """Return the board as valid JSON, an entrant a line: numbers at full precision, ``null`` where one is unknown.

    A value with an interval is an object with ``value``, ``low`` and ``high``.
    """
    head = {"suite": results.suite, "baseline": results.baseline}
    datasets = [
        _with_lines(
            _dataset(rows, results), "entrants", [_entrant(row, noise_levels(rows)) for row in rows.to_dict("records")]
        )
        for _, rows in board.groupby("dataset", sort=False)
    ]
    return _opened(head) + '"datasets":[\n' + ",\n".join(datasets) + "\n]}\n"


def _with_lines(head: dict[str, Any], name: str, items: list[dict[str, Any]]) -> str:
    """Write an object whose last entry is a list with an item a line."""
    return _opened(head) + f'"{name}":[\n' + ",\n".join(map(_line, items)) + "\n]}"


def _opened(head: dict[str, Any]) -> str:
    """Write the beginning of an object, to which more entries are added."""
    return _line(head)[:-1] + ",\n"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _dataset(rows: pd.DataFrame, results: Results) -> dict[str, Any]:
    sigmas = noise_levels(rows)
    first = rows.iloc[0]
    check = results.optimum_checks.get(str(first["dataset"]))
    return {
        "dataset": first["dataset"],
        "optimum": first["optimum"],
        "optimal_slope": plain(first["optimal_slope"]),
        "optimum_check": check.record() if check else None,
        "noise_levels": [{"sigma": sigma, "input_psnr": float(input_psnr(sigma))} for sigma in sigmas],
    }


def _entrant(row: dict[Any, Any], sigmas: list[float]) -> dict[str, Any]:
    other: dict[str, Any] = {}
    for name in other_columns(list(row)):
        metric, _, level = name.rpartition("@")
        if plain(row[name]) is not None:
            values = _with_interval(row, name)
            other.setdefault(metric or name, []).append({"sigma": float(level) if metric else None, **values})
    return {
        **{name: plain(row[name]) for name in _PLAIN},
        "slope": _with_interval(row, "slope"),
        "kl": _with_interval(row, "kl"),
        "kl_min": _with_interval(row, "kl_min"),
        **_gains(row, ""),
        "noise_levels": [{"sigma": sigma, **_gains(row, f"@{level_name(sigma)}")} for sigma in sigmas],
        "metrics": other,
    }


def _gains(row: dict[Any, Any], level: str) -> dict[str, Any]:
    return {
        "psnr": _with_interval(row, f"psnr{level}"),
        "gain_over_noisy": plain(row[f"gain_over_noisy{level}"]),
        "gain_over_baseline": _with_interval(row, f"gain_over_baseline{level}"),
        "deficit": _with_interval(row, f"deficit{level}"),
        "deficit_min": _with_interval(row, f"deficit_min{level}"),
    }


def _with_interval(row: dict[Any, Any], name: str) -> dict[str, Any]:
    return {"value": plain(row[name]), "low": plain(row[f"{name}_low"]), "high": plain(row[f"{name}_high"])}
