"""Plugin files: finding them in folders, and importing them."""

from __future__ import annotations

import sys
import types
from pathlib import Path

from gahbench._util.errors import PluginError
from gahbench._util.files import open_regular
from gahbench._util.records import key_of
from gahbench.registry.behaviour import Sources, imports_of, is_ours
from gahbench.registry.hookspecs import Register, hookimpl

#: Suffixes of files of claims.
CLAIM_SUFFIXES = (".yaml", ".yml")


def plugin_files(source: Path) -> list[Path]:
    """Return the plugin files of a source: the file itself, or the files of a folder that begin with no underscore."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise PluginError(f"{source}: no such plugin file or folder")
    return sorted(child for child in source.glob("[!_]*.py") if child.is_file())


def source_files(file: Path) -> dict[str, Path]:
    """Return the files of a plugin file and of its imports from its folder, by the names of modules."""
    files: dict[str, Path] = {}

    def read(module: str, path: Path) -> list[str]:
        if is_ours(module):
            return []
        files[module] = path
        return [target for _, target in imports_of(path.read_bytes(), module, path.name == "__init__.py")]

    Sources(file.stem, file).walk(file.stem, read)
    return files


def load_file(file: Path) -> types.ModuleType:
    """Import a plugin file under a unique name, unless it is unchanged; it may import other files in its folder."""
    open_regular(file).close()
    if file.suffix in CLAIM_SUFFIXES:
        # A file of claims is registered by its name, and read later.
        def register_claims(register: Register) -> None:
            register(file.stem.replace("_", "-"), "gahbench:read_claims", file=str(file))

        claims = types.ModuleType(file.stem)
        vars(claims)["register_claims"] = hookimpl(register_claims)
        return claims
    files = source_files(file)
    name = f"gahbench_plugin_{file.stem}_{key_of({str(path): path.read_bytes() for path in files.values()})[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    helpers = {helper: path for helper, path in files.items() if path != file}
    for helper, path in helpers.items():
        origin = getattr(sys.modules.get(helper), "__file__", None)
        if origin is not None and Path(origin).resolve() != path.resolve():
            raise ImportError(f"'{helper}' would be imported from {origin}, not from {path}; rename one of the files")
    for helper in helpers:
        sys.modules.pop(helper, None)  # The file may have changed.
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    sys.modules[name] = module = types.ModuleType(name)
    vars(module)["__file__"] = str(file)
    try:
        # Cached bytecode, which a loader would use, is stale if the file is edited twice within a second.
        exec(compile(file.read_bytes(), str(file), "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module
