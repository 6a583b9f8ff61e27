"""Plugin files: finding them in folders, and importing them."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Sequence
from pathlib import Path

from gahbench._util.errors import PluginError
from gahbench._util.files import check_regular
from gahbench.registry.hookspecs import Register, hookimpl
from gahbench.registry.source import FILE_PREFIX, source_files


def plugin_files(source: Path) -> list[Path]:
    """Return the plugin files of a source: the file itself, or the public modules and packages of a folder."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        kind = "is neither a file nor a folder" if source.exists() else "no such plugin file or folder"
        raise PluginError(f"{source}: {kind}")
    if (source / "__init__.py").is_file():
        return [source / "__init__.py"]
    packages = [child / "__init__.py" for child in source.iterdir() if (child / "__init__.py").is_file()]
    files = [child for child in source.glob("*.py") if not child.name.startswith("_")]
    return sorted(files + packages)


def add_environment_sources(sources: Sequence[str | Path]) -> tuple[Path, ...]:
    """Return plugin files and folders, followed by the paths in ``GAHBENCH_PLUGINS``, without duplicates."""
    named = [part for part in os.environ.get("GAHBENCH_PLUGINS", "").split(os.pathsep) if part]
    paths: dict[Path, Path] = {}
    for source in (*map(Path, sources), *(Path(part).expanduser() for part in named)):
        paths.setdefault(source.absolute(), source)
    return tuple(paths.values())


def module_name(file: Path) -> str:
    """Return the name under which a plugin file is imported, unless another imported file has this name already."""
    return f"{FILE_PREFIX}{file.parent.name if file.name == '__init__.py' else file.stem}"


def _forget_helpers(helpers: dict[str, Path]) -> None:
    """Forget imported helper modules of a plugin; raise if a module of another folder has the name of a helper."""
    for name, file in helpers.items():
        loaded = sys.modules.get(name)
        origin = getattr(loaded, "__file__", None)
        if loaded is not None and origin is not None and Path(origin).resolve() != file.resolve():
            raise ImportError(f"'{name}' would be imported from {origin}, not from {file}; rename one of the files")
    for name in helpers:
        sys.modules.pop(name, None)


class _FileLoader(importlib.machinery.SourceFileLoader):
    """Loader that ignores cached bytecode, which is stale if the file is edited twice within a second."""

    def get_code(self, fullname: str) -> types.CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


#: Suffixes of files of claims.
CLAIM_SUFFIXES = (".yaml", ".yml")


def _claims_module(file: Path) -> types.ModuleType:
    """Return a plugin module that registers the claims of a YAML file by the file's name, without reading it."""
    module = types.ModuleType(f"{FILE_PREFIX}{file.stem}")

    @hookimpl
    def register_claims(register: Register) -> None:
        register(file.stem.replace("_", "-"), "gahbench:read_claims", file=str(file))

    module.__dict__["register_claims"] = register_claims
    return module


#: Attribute of a module that holds the contents of its plugin file and helpers.
_CONTENTS = "__gahbench_contents__"


def load_file(file: Path) -> types.ModuleType:
    """Import a plugin file under a unique name; the file may import other files in its folder."""
    check_regular(file)
    if file.suffix in CLAIM_SUFFIXES:
        return _claims_module(file)
    folder, name = file.parent.parent if file.name == "__init__.py" else file.parent, module_name(file)
    files = source_files(name, file)
    contents = {module: path.read_bytes() for module, path in files.items()}
    helpers = {module: path for module, path in files.items() if path != file}
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(file) and loaded.__dict__.get(_CONTENTS) == contents:
        return loaded
    if loaded is not None and loaded.__file__ != str(file):
        name = f"{name}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    _forget_helpers(helpers)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    locations = [str(file.parent)] if file.name == "__init__.py" else None
    loader = _FileLoader(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader, submodule_search_locations=locations)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    module.__dict__[_CONTENTS] = contents
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
