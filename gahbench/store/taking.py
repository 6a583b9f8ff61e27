"""Finished units taken from another results folder: verified, linked or copied, and never beside another network."""

from __future__ import annotations

import functools
import shutil
from typing import Any, Literal

from gahbench._util.errors import ResultsError
from gahbench._util.files import flush
from gahbench.contracts.unit import Unit
from gahbench.store.attempts import PARTIAL, link_or_copy, publish
from gahbench.store.finished import DONE
from gahbench.store.leases import own_name
from gahbench.store.store import Store
from gahbench.training.file_names import WEIGHTS

#: How taking a unit ends: it is there now, its files are not what was written, or a network and its score would not
#: belong together.
Ending = Literal["taken", "damaged", "other weights"]


class Taker:
    """Takes finished units from other results folders."""

    def __init__(self, target: Store) -> None:
        self._target = target
        # Finished fits stay as they are.
        self._held = functools.cache(target.weights_checksum)

    def take(self, source: Store, unit: Unit) -> Ending:
        """Link or copy a finished unit, unless it is damaged, or there are other weights than scores measured."""
        done = source.done(unit)
        if done is None:
            return "damaged"
        if not self.fits(source, unit, done):
            return "other weights"
        attempt = self._target.units / f"{unit.folder}{PARTIAL}-{own_name()}"
        try:
            attempt.mkdir(parents=True)
            for name in (*done["files"], DONE):
                link_or_copy(source.path(unit) / name, attempt / name)
                flush(attempt / name)
            self._target.verify(attempt, unit)
            publish(attempt, self._target.path(unit))
        except (OSError, ResultsError):
            # Copying fails by what is read, or by what is written.
            try:
                source.verify(source.path(unit), unit)
            except ResultsError:
                return "damaged"
            raise
        finally:
            shutil.rmtree(attempt, ignore_errors=True)
        self._target.forget_failure(unit)
        return "taken"

    def fits(self, source: Store, unit: Unit, done: dict[str, Any]) -> bool:
        """Whether a score measured the networks that are here, or a network is that which scores here measured."""
        if unit.kind == "fit":
            return self._measured.get(unit.key) in (None, done["files"].get(WEIGHTS, {}).get("sha256"))
        networks = done.get("networks", {})
        return all((held := self._held(key)) is not None and held == networks.get(key) for key in unit.needs)

    @functools.cached_property
    def _measured(self) -> dict[str, str]:
        """Checksums of the weights that scores here measured before any were taken, by the keys of the fits."""
        done = (
            self._target.done(unit) or {} for unit in self._target.recorded() if unit.kind == "score" and unit.needs
        )
        return {key: digest for one in done for key, digest in one.get("networks", {}).items()}
