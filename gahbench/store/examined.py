"""Finished units, examined: which are as they were written, and what is wrong with others."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gahbench._util.readable import counted
from gahbench.contracts.unit import Unit
from gahbench.store.finished import UNIT, DamagedError, Finished, is_network, open_finished
from gahbench.store.score_files import SCORES, parsed_scores

#: So many bytes of scores are kept from the examination until they are read.
KEPT_BYTES = 256 * 2**20
#: Damaged units that a warning names.
_NAMED = 5


@dataclass
class Examined:
    """Units that are finished in a folder."""

    whole: dict[str, Finished] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    _contents: dict[str, bytes] = field(default_factory=dict, repr=False)
    _room: int = KEPT_BYTES

    def scores(self, name: str) -> list[tuple[float | None, int | None, float, str]]:
        """Return the (sigma, image, value, part) of a score that is whole."""
        finished = self.whole[name]
        content = self._contents.pop(name, None)
        try:
            return parsed_scores(finished.read(SCORES) if content is None else content)
        except ValueError as error:
            reason = f"holds no scores ({error}); delete its folder and run again"
            raise DamagedError(f"{finished.folder / SCORES}: {reason}") from error

    def keep(self, name: str, content: bytes) -> None:
        """Keep the content of a file of scores, if there is room for it."""
        if len(content) <= self._room:
            self._room -= len(content)
            self._contents[name] = content


def examine(
    units: Iterable[Unit],
    place: Callable[[Unit], Path],
    weights: Callable[[str], str | None],
    *,
    thorough: bool = False,
    keep: bool = False,
) -> Examined:
    """Read the folders of finished units, and check them."""
    found, held = Examined(), functools.cache(weights)
    for unit in {unit.folder: unit for unit in units}.values():
        try:
            finished = open_finished(place(unit), unit)
            _check_networks(finished, unit, held)
            for name in finished.names:
                if name == SCORES:
                    content = finished.read(name)
                    if keep:
                        found.keep(unit.folder, content)
                elif name != UNIT:
                    finished.check(name, whole=thorough and not is_network(name))
        except DamagedError as error:
            found.damaged[unit.folder] = str(error)
        else:
            found.whole[unit.folder] = finished
    return found


def _check_networks(finished: Finished, unit: Unit, held: Callable[[str], str | None]) -> None:
    """Refuse a score of other weights than are here: networks of one key may differ by rounding."""
    measured: Mapping[str, Any] = finished.done.get("networks", {})
    for key in unit.needs:
        if measured.get(key) is not None and held(key) not in (None, measured[key]):
            raise DamagedError(f"{finished.folder}: measured another network than is here")


def warn_of_damage(reasons: Iterable[str], outcome: str) -> None:
    """Warn of finished units that are not as they were written, if there are any."""
    listed = list(reasons)
    if not listed:
        return
    named = "; ".join(listed[:_NAMED]) + (f"; and {len(listed) - _NAMED} more" if len(listed) > _NAMED else "")
    verb = "was" if len(listed) == 1 else "were"
    warnings.warn(f"{counted(len(listed), 'finished unit')} {verb} damaged, {outcome}: {named}", stacklevel=3)
