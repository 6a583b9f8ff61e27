"""Results folders: working in them, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gahbench.registry.registry import Registry, open_registry

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.contracts.jobs import Event
    from gahbench.planning.plan import Plan
    from gahbench.runs.adoption import Adoption
    from gahbench.runs.comparison import Comparison
    from gahbench.runs.removal import Removed
    from gahbench.runs.reuse import Merged, Reused
    from gahbench.runs.status import Status
    from gahbench.runs.verification import Verification
    from gahbench.runs.work import Worked
    from gahbench.store.folder import Opened
    from gahbench.store.stored_weights import StoredWeights

Source = str | Path


def write_plan(
    plan: Plan,
    folder: Source,
    registry: Registry,
    threads: int | None = None,
    reuse: Sequence[Source] = (),
    replace: bool = True,
) -> tuple[Opened, Reused | None]:
    """Record a plan in a results folder, which any number of :func:`work` then finish."""
    from gahbench.runs.opening import open_folder
    from gahbench.runs.reuse import reuse as reuse_units
    from gahbench.runs.runner import warn_of_moved

    opened = open_folder(plan, Path(folder), registry, threads, replaces_board=replace)[0]
    warn_of_moved(opened.damaged, Path(folder))
    return opened, reuse_units(plan.units, Path(folder), [Path(source) for source in reuse]) if reuse else None


def work(
    folder: Source,
    *,
    workers: int | None = None,
    workers_per_gpu: int | None = None,
    device: str = "auto",
    retry: bool = False,
    report: Callable[[Event], None] = lambda event: None,
) -> Worked:
    """Do the units that are left in a planned folder, beside any number of others, until none is left anywhere.

    Parameters
    ----------
    folder
        A results folder with a plan.
    workers
        Number of worker processes; by default ``workers_per_gpu`` to a GPU or, on CPU, one to each share of the plan's
        threads.
    workers_per_gpu
        How many share a GPU; by default as suits its memory and the size of the networks.
    device
        ``cpu``, ``cuda``, or ``auto`` for GPUs if there are any.
    retry
        Whether units that have failed are tried again.
    report
        Called with every event.

    Returns
    -------
    Worked
        How many units are ``done``, ``failed`` and ``left``.

    Raises
    ------
    ResultsError
        If it is no results folder, or was planned with other code; names the files that differ.
    """
    from gahbench.runs.work import work

    return work(Path(folder), workers, workers_per_gpu, device, retry, report)


def status(folder: Source) -> Status:
    """Return what is done in a results folder, what runs where, what failed, and the time left.

    Parameters
    ----------
    folder
        A results folder.

    Raises
    ------
    ResultsError
        If it is no results folder.
    """
    from gahbench.runs.status import status

    return status(Path(folder))


def collect(folder: Source) -> Results:
    """Write the tables, board and figures of a results folder from what is done in it so far, and return the results.

    Parameters
    ----------
    folder
        A results folder with its units.

    Raises
    ------
    ResultsError
        If it is no results folder, or a finished unit cannot be read.
    """
    from gahbench.runs.collect import collect

    collect(Path(folder))
    return load_results(folder)


def load_results(folder: Source) -> Results:
    """Return the results in a folder: tidy ``scores``, ``fits``, ``failures``, and the ``leaderboard()``.

    Parameters
    ----------
    folder
        A results folder.

    Raises
    ------
    ResultsError
        If the folder holds none, or they cannot be read.
    """
    from gahbench.board.results import load_results

    return load_results(Path(folder))


def compare(one: Source, other: Source) -> Comparison:
    """Compare two results folders: paired differences in PSNR, and what differs in protocol, code and environment.

    Parameters
    ----------
    one, other
        Results folders.

    Returns
    -------
    Comparison
        Its ``table`` has a row for each dataset, entrant of both, and noise level.

    Raises
    ------
    ResultsError
        If they share no dataset, or one has other images or noise there.
    """
    from gahbench.runs.comparison import compare

    return compare(Path(one), Path(other))


def adopt(folder: Source, *, plugins: Sequence[Source] = ()) -> Adoption:
    """Accept the finished units of a results folder that differ from today's only in code.

    A change of the code that decides an outcome has units done again. Where it does not matter, this accepts them
    instead: they record it, and the board notes it.

    Parameters
    ----------
    folder
        A results folder with its units.
    plugins
        Plugin files, or folders of them, that its suite used.

    Returns
    -------
    Adoption
        The units that were ``adopted``, and those that were ``refused``, with the reason.

    Raises
    ------
    ResultsError
        If it is no results folder, has no units, or another run is using it.
    """
    from gahbench.runs.adoption import adopt

    return adopt(Path(folder), open_registry(plugins))


def merge(folders: Sequence[Source], out: Source) -> Merged:
    """Make one results folder of several, with the board of all: units of equal keys once, linked or copied.

    Parameters
    ----------
    folders
        Results folders of one suite. Where two hold a unit, the first counts.
    out
        The folder of all: new or empty, or with results of the suite, which then come first.

    Returns
    -------
    Merged
        How many units came from each, and of which they have different results.

    Raises
    ------
    ResultsError
        If there are fewer than two, one of them is no results folder, or they differ in suite, baseline, images,
        scoring or training; names what differs.
    """
    from gahbench.runs.reuse import merge

    return merge([Path(folder) for folder in folders], Path(out))


def remove(folder: Source, entrants: Sequence[str]) -> Removed:
    """Remove entrants from a results folder: rows, units, failures, attempts; units that others need stay.

    The board is written anew. An entrant of the suite's file is planned again by the next run of the suite.

    Parameters
    ----------
    folder
        A results folder.
    entrants
        Their labels, names or patterns such as ``unet*``; the label of a row of a sweep, ``unet[width=16] N=100``,
        names that row alone.

    Raises
    ------
    ResultsError
        If there is no such entrant, it is the baseline, no other would be left, or a process is doing one of its
        units.
    """
    from gahbench.runs.removal import remove

    return remove(Path(folder), entrants)


def verify(
    folder: Source,
    *,
    units: int = 10,
    fits: int | None = None,
    seed: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    plugins: Sequence[Source] = (),
    report: Callable[[Event], None] = lambda event: None,
) -> Verification:
    """Check the files of a results folder against their checksums, and compute samples of scores and fits again.

    Nothing in the folder is changed. Plugins of the folder are code, and run here.

    Parameters
    ----------
    folder
        A results folder with its units.
    units
        How many scores are computed again, from the stored weights.
    fits
        How many networks are trained again, from their seeds; by default one of those that trained for less than ten
        minutes, if there are any.
    seed
        Of the choice of both; by default another one each time.
    workers
        Number of worker processes.
    device
        ``cpu``, ``cuda`` or ``auto``; by default the kind of device that each unit was computed on.
    plugins
        Plugin files, in place of those that the folder holds.
    report
        Called with every event.

    Returns
    -------
    Verification
        Whether all ``repeats``, and what was ``damaged``, ``rescored`` and ``refitted``.

    Raises
    ------
    ResultsError
        If it is no results folder, or has no finished score.
    """
    from gahbench.runs.verification import verify

    return verify(Path(folder), units, seed, workers, device, [Path(file) for file in plugins], report, fits)


def weights(folder: Source, entrant: str) -> list[StoredWeights]:
    """Return where the weights, histories and snapshots of the finished fits of an entrant are.

    Parameters
    ----------
    folder
        A results folder with its units.
    entrant
        Its label or name, or a pattern such as ``unet*``; the label of a row of a sweep, ``unet[width=16] N=100``,
        names that row alone.

    Raises
    ------
    ResultsError
        If it is no results folder, or has no such entrant that is trained.
    """
    from gahbench.runs.removal import named_rows
    from gahbench.store.plan_file import recorded_plan
    from gahbench.store.stored_weights import stored_weights

    plan = recorded_plan(Path(folder))
    trained = (one.unit.entrant for one in plan.units if one.unit.kind == "fit")
    return stored_weights(Path(folder), plan, named_rows([entrant], trained, f"{folder}, entrants that are trained"))
