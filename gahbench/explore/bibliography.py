"""BibTeX entries of the publications that plugins cite."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import gahbench
from gahbench._util.errors import PluginError, suggestion
from gahbench.board.results import load_results
from gahbench.contracts.citation import Citation, bibliography
from gahbench.planning.suite_entries import configure_entrant
from gahbench.registry.configured import KINDS, citations, iterate_nested
from gahbench.registry.registry import Registry, open_registry
from gahbench.registry.spec import parse_spec


def cite(*targets: str | Path, plugins: Sequence[str | Path] = ()) -> str:
    """Return BibTeX entries of the publications that plugins cite.

    Parameters
    ----------
    *targets : str or Path
        Results folders, to cite all plugins on their boards; or plugins, optionally with parameters, such as
        ``"oracle-threshold[sym4]"``, to cite the plugin and the plugins that its parameters name.
    plugins : sequence of str or Path, default ()
        Plugin files, or folders of plugin files.

    Returns
    -------
    str
        Entries without duplicates, sorted by key. If a target is a results folder, an entry for gahbench comes first,
        which names the versions of frozen suites.
        Empty if no plugin has a ``citation``.

    Raises
    ------
    PluginError
        If a target is neither a results folder nor a plugin.
    ParameterError
        If a plugin does not accept a parameter.
    ResultsError
        If a folder holds no results.

    Examples
    --------
    >>> print(cite("psnr", "bf-cnn").splitlines()[0])
    @inproceedings{mohan2020robust,
    """
    registry = open_registry(plugins)
    works, notes = list[Citation](), list[str]()
    for target in map(str, targets):
        if _is_folder(target):
            results = load_results(target)
            works += results.works
            notes.append(f"Version {gahbench.__version__}")
            if (frozen := results.version) is not None:
                notes.append(f"suite {results.suite}, version {frozen.version}, SHA-256 {frozen.digest}")
        else:
            works += _cite_name(target, registry)
    entries = bibliography(works)
    if not notes:
        return entries
    note = "; ".join(dict.fromkeys(notes))
    fields = ("author = {{The gahbench developers}}", "title = {{gahbench}}", f"note = {{{note}}}")
    own = "\n".join(["@misc{gahbench,", *(f"  {field}," for field in fields), "}\n"])
    return f"{own}\n{entries}" if entries else own


def _is_folder(target: str | Path) -> bool:
    """Return whether a target is an existing folder; false for strings that are too long for a path."""
    with contextlib.suppress(OSError):
        return Path(target).is_dir()
    return False


def _cite_name(text: str, registry: Registry) -> Iterator[Citation]:
    """Yield the citations of a plugin and of the plugins that its parameters name."""
    spec = parse_spec(text)
    kinds = [kind for kind in KINDS if spec.name in registry.names(kind)]
    if not kinds:
        names = [name for kind in KINDS for name in registry.names(kind)]
        raise PluginError(
            f"'{text}' is neither a results folder nor a plugin{suggestion(spec.name, names, most=3) or ';'} "
            f"'gahbench list' prints all names{registry.missing}"
        )
    for kind in kinds:
        plugin = registry.get(kind, spec.name)
        if any(parameter.required for parameter in plugin.parameters) and not (spec.positional or spec.keywords):
            # A plugin is cited even if its required parameters are not set.
            yield from citations(plugin)
        else:
            is_entrant = kind in ("architecture", "reference")
            configured = configure_entrant(registry, spec) if is_entrant else registry.configure(kind, spec)
            for nested in iterate_nested(configured):
                yield from citations(nested.plugin)
