"""Results folders as another machine would write them: equal keys of networks, but different rounding of weights."""

from __future__ import annotations

import json
from pathlib import Path

from finished_units import forge_done


def rewrite(file: Path, content: bytes) -> str:
    """Replace a file of a finished unit and its recorded checksum; return the checksum."""
    # Unlink the file first, since other files may be hard links to it.
    file.unlink()
    file.write_bytes(content)
    return forge_done(file.parent, file.name)


def change_weights(folder: Path) -> None:
    """Change the weights of all networks of a folder, and the scores that measured them."""
    for fit in (folder / "units").glob("fit-*"):
        file = fit / "weights.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        digest = rewrite(file, bytes(content))
        for done_file in (folder / "units").glob("score-*/done.json"):
            networks = json.loads(done_file.read_bytes())["networks"]
            if fit.name.removeprefix("fit-") in networks:
                forge_done(done_file.parent, networks={**networks, fit.name.removeprefix("fit-"): digest})
                change_score(done_file.parent)


def change_score(unit: Path) -> None:
    """Change the first value of a finished score."""
    head, first, *rest = (unit / "scores.csv").read_text().splitlines()
    sigma, image, value, part = first.split(",")
    changed = ",".join((sigma, image, repr(float(value) + 0.5), part))
    rewrite(unit / "scores.csv", "\n".join((head, changed, *rest, "")).encode())
