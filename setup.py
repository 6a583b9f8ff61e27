"""The long description of the package: README.md, with absolute links to the repository at the tag of the release."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent

project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))
repository = project["project"]["urls"]["Repository"]
code = (HERE / "gahbench" / "__init__.py").read_text(encoding="utf-8")
(version,) = re.findall(r'^__version__ = "(.+)"$', code, flags=re.MULTILINE)


def absolute(link: re.Match[str]) -> str:
    """Return a link to the file in the repository, and of an image to its content."""
    image, text, path, place = link.groups(default="")
    return f"{image}[{text}]({repository}/{'raw' if image else 'blob'}/v{version}/{path}{place})"


readme = (HERE / "README.md").read_text(encoding="utf-8")
links = re.compile(project["tool"]["gahbench"]["link"])
setup(long_description=links.sub(absolute, readme), long_description_content_type="text/markdown")
