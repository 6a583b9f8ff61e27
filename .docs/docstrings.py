"""Validate the docstrings of all public names with numpydoc: python .docs/docstrings.py."""

import importlib
import inspect
import re
import sys
from collections.abc import Iterator

from numpydoc.validate import validate

PACKAGES = ("gahbench", *(f"gahbench.{name}" for name in ("evaluation", "jacobian", "networks", "sampling", "testing")))
#: Types are in annotations, and links to related functions are on pages.
EXEMPT = {"PR04", "RT01", "SA01", "ES01", "EX01"}
#: A method whose summary names its arguments needs no section for them, and a protocol has no constructor.
EXEMPT_FOR_METHODS = EXEMPT | {"PR01"}


def public_items() -> Iterator[tuple[str, set[str]]]:
    """Yield each public function, class and method with the codes that it is exempt from."""
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            item = getattr(module, name)
            if not callable(item) or not str(getattr(item, "__module__", "")).startswith("gahbench"):
                continue
            yield f"{package}.{name}", EXEMPT_FOR_METHODS if getattr(item, "_is_protocol", False) else EXEMPT
            for attribute, value in vars(item).items() if inspect.isclass(item) else ():
                if not attribute.startswith("_") and (callable(value) or isinstance(value, (property, classmethod))):
                    yield f"{package}.{name}.{attribute}", EXEMPT_FOR_METHODS


def names_only_private_fields(message: str) -> bool:
    """Return whether a message names only private fields of a dataclass."""
    parameters = re.findall(r"'(\w+)'", message)
    return bool(parameters) and all(parameter.startswith("_") for parameter in parameters)


def main() -> int:
    """Print all errors; return 1 if there are any."""
    faults = [
        f"{name}: {code}: {message}"
        for name, exempt in public_items()
        for code, message in validate(name)["errors"]
        if code not in exempt and not (code == "PR01" and names_only_private_fields(message))
    ]
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
