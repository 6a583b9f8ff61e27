"""BibTeX entries of the publications that plugins cite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gahbench
from gahbench._util.errors import prefix_errors
from gahbench.board.results import load_results
from gahbench.contracts.citation import Citation, bibliography
from gahbench.explore.description import find_plugins
from gahbench.registry.configured import citations, iterate_nested
from gahbench.registry.registry import open_registry


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
        if Path(target).is_dir():
            results = load_results(target)
            works += results.works
            notes.append(f"Version {gahbench.__version__}")
            if (frozen := results.version) is not None:
                notes.append(f"suite {results.suite}, version {frozen.version}, SHA-256 {frozen.digest}")
            continue
        with prefix_errors(f"{target} is no results folder"):
            for plugin, configured in find_plugins(target, registry):
                # A plugin is cited even if its required parameters are not set.
                plugins_cited = [nested.plugin for nested in iterate_nested(configured)] if configured else [plugin]
                works += [work for cited in plugins_cited for work in citations(cited)]
    entries = bibliography(works)
    if not notes:
        return entries
    note = "; ".join(dict.fromkeys(notes))
    fields = ("author = {{The gahbench developers}}", "title = {{gahbench}}", f"note = {{{note}}}")
    own = "\n".join(["@misc{gahbench,", *(f"  {field}," for field in fields), "}\n"])
    return f"{own}\n{entries}" if entries else own
