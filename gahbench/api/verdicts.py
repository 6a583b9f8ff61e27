"""Claims of publications, held against results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gahbench._util.errors import ParameterError, ResultsError, listing
from gahbench._util.patterns import matches
from gahbench.registry.registry import Registry, open_registry

if TYPE_CHECKING:
    from gahbench.board.claims import Verdict
    from gahbench.contracts.claims import Claim

Source = str | Path


def claims(*folders: Source, only: Sequence[str] = (), plugins: Sequence[Source] = ()) -> list[Verdict]:
    """Return the verdict of results on each claim of a publication that is known.

    Parameters
    ----------
    *folders
        Results folders, or folders of them. Without any no claim is measured.
    only
        Papers, claims, ``paper/claim``, or patterns of these; by default all.
    plugins
        Plugin files, YAML files of claims, or folders of plugin files.

    Returns
    -------
    list of Verdict
        Whether each ``holds``, ``fails``, is ``undecided`` or ``not measured``, with its cases.

    Raises
    ------
    ParameterError
        If a pattern matches no claim; names what there is.
    ResultsError
        If a folder holds no results, or they cannot be read.
    SuiteError
        If a file of claims does not validate.
    """
    from gahbench.board.claim_values import Table
    from gahbench.board.claims import judge
    from gahbench.board.results import load_results
    from gahbench.store.short_names import short_names

    known = chosen_claims(open_registry(plugins), only)
    paths = [path for folder in folders for path in results_folders(Path(folder))]
    names = short_names(paths) if paths else []
    tables = [Table(name, load_results(path)) for name, path in zip(names, paths, strict=True)]
    return [judge(name, claim, tables) for name, claim in known.items()]


def write_claim_suites(verdicts: Sequence[Verdict], file: Source) -> list[tuple[Path, list[str]]]:
    """Write the suites that would decide claims which are undecided or not measured."""
    from gahbench._util.files import write_whole
    from gahbench.board.claim_suites import deciding_suites, written

    first = Path(file)
    found = []
    for place, (content, names) in enumerate(deciding_suites(verdicts)):
        path = first if not place else first.with_stem(f"{first.stem}-{place + 1}")
        write_whole(path, written(content, names).encode())
        found.append((path, names))
    return found


def chosen_claims(registry: Registry, only: Sequence[str] = ()) -> dict[str, Claim]:
    """Return the claims that match one of some patterns by ``paper/claim``; all without patterns."""
    from gahbench.board.claims import known_claims

    known = known_claims(registry)
    for pattern in only:
        if not any(_is_named(name, pattern) for name in known):
            papers = list(dict.fromkeys(name.partition("/")[0] for name in known))
            raise ParameterError(f"no claim '{pattern}'; there are those of {listing(papers)}")
    return {
        name: claim for name, claim in known.items() if not only or any(_is_named(name, pattern) for pattern in only)
    }


def results_folders(folder: Path) -> list[Path]:
    """Return the results folders that a path names: itself, or those in it."""
    from gahbench.board.results import INDEX

    if (folder / INDEX).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{INDEX}")) if folder.is_dir() else []
    if not found:
        raise ResultsError(f"{folder}: neither a results folder nor a folder of them; expected {INDEX}, or */{INDEX}")
    return found


def _is_named(name: str, pattern: str) -> bool:
    paper, _, claim = name.partition("/")
    return any(matches(one, pattern) for one in (name, paper, claim))
