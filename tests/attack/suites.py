"""Hostile suite files: modified copies of the suites of gahbench, and unusual constructions of YAML."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from gahbench._util.records import canonical
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import Suite, load_suite
from gahbench.planning.suite_files import suite_files
from gahbench.registry.registry import open_registry
from gahbench.report.cells import file_stems

from .folders import SUITE
from .harness import Campaign, accept_errors
from .hostile import REAL, WHOLE, fragments, mutated, scalars, texts, values
from .specs import likely, load_everything

SHIPPED = [SUITE, *(file.read_text(encoding="utf-8") for file in suite_files().values())]
CONTENTS = [yaml.safe_load(text) for text in SHIPPED]
#: Maximum number of units of suites that are planned.
MAX_UNITS = 60


def attempt(case: bytes, scratch: Path) -> None:
    """Load a suite, and plan it if it is small; names must be suitable for files."""
    file = scratch / "suite.yaml"
    file.write_bytes(case)
    registry = open_registry()
    with accept_errors():
        suite = load_suite(file, registry)
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", suite.name), suite.name
        labels = [item.label for item in (*suite.datasets, *suite.entrants, *suite.metrics)]
        assert all(label.isprintable() for label in labels), labels
        for stem in file_stems([dataset.label for dataset in suite.datasets]).values():
            assert re.fullmatch(r"[A-Za-z0-9.=+_-]{1,120}", stem), stem
        if _estimate_units(suite) <= MAX_UNITS:
            plan = make_plan(suite)
            canonical([[unit.document, unit.payload] for unit in plan.units])
            canonical(plan.board)


def _estimate_units(suite: Suite) -> int:
    """Return the approximate number of units of a suite."""
    scores = len(suite.scoring.splits) * len(suite.metrics)
    return len(suite.datasets) * len(suite.entrants) * len(suite.seeds) * len(suite.training.sweep) * (1 + scores)


def bomb(levels: int, width: int, form: str) -> str:
    """Return lists or mappings nested by aliases, which expand to width^levels values."""
    lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    for level in range(1, levels):
        inner = [f"*a{level - 1}"] * width
        items = [f"k{index}: {alias}" for index, alias in enumerate(inner)]
        text = {
            "list": f"[{', '.join(inner)}]",
            "mapping": f"{{{', '.join(items)}}}",
            "merge": f"{{!!merge <<: [{', '.join(inner)}]}}",
        }[form]
        lines.append(f"a{level}: &a{level} {text}")
    return "\n".join(lines) + "\n"


CIRCULAR = ("&a [*a]", "&a {b: *a}", "&a [&b [*a, *b]]", "&a {*a : 1}", "&a [*b, &b [*a]]", "{&a b: *a}", "*nowhere")


@st.composite
def tampered(draw: st.DrawFn) -> str:
    """Draw a suite with some values replaced, as YAML."""
    content = copy.deepcopy(draw(st.sampled_from(CONTENTS)))
    if draw(st.integers(0, 3)):
        _make_small(draw, content)
    for _ in range(draw(st.integers(1, 3))):
        _replace_value(draw, content)
    for field, kinds in (("datasets", ["dataset"]), ("entrants", ["architecture", "reference"])):
        if draw(st.booleans()) and isinstance(content.get(field), list):
            name, given = draw(likely(draw(st.sampled_from(kinds))))
            content[field] = [*content[field][:2], draw(st.sampled_from(({name: given}, {name: [given]}, name)))]
    return yaml.dump(content, sort_keys=False, default_flow_style=draw(st.booleans()), allow_unicode=True)


def _make_small(draw: st.DrawFn, content: dict[str, Any]) -> None:
    """Keep a dataset, an entrant and two metrics, so that the suite is small enough to be planned."""
    content.pop("baseline", None)
    content["datasets"] = [draw(st.sampled_from(content["datasets"]))]
    content["entrants"] = [draw(st.sampled_from(content["entrants"]))]
    content["scoring"]["metrics"] = ["psnr", draw(st.sampled_from(content["scoring"].get("metrics", ["slope"])))]


def _replace_value(draw: st.DrawFn, content: Any) -> None:
    """Replace, rename or delete a random value in nested lists and mappings, or make it a grid."""
    while True:
        keys = list(content) if isinstance(content, dict) else list(range(len(content)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        if isinstance(content[key], dict | list) and content[key] and draw(st.integers(0, 3)):
            content = content[key]
            continue
        if isinstance(content[key], int | float) and draw(st.integers(0, 4)):
            # The new value has the right type, but may be absurd.
            content[key] = draw(st.sampled_from(WHOLE if isinstance(content[key], int) else REAL))
            return
        change = draw(st.sampled_from(("value", "scalar", "grid", "name", "drop")))
        if change == "grid":
            content[key] = list(range(1, draw(st.sampled_from((3, 100, 3000)))))
        elif change == "name" and isinstance(content, dict):
            content[draw(texts)] = content.pop(key)
        elif change == "drop":
            del content[key]
        else:
            content[key] = draw(values if change == "value" else scalars)
        return


@st.composite
def crafted(draw: st.DrawFn) -> str:
    """Draw a suite with an alias bomb, a circular alias, a tag, a grid, or deep nesting."""
    text = draw(st.sampled_from(SHIPPED))
    form = draw(st.sampled_from(("bomb", "value", "grid", "deep")))
    if form == "bomb":
        sizes = draw(st.sampled_from(((2, 3), (6, 10), (9, 9), (30, 2), (3, 100), (60, 3))))
        start = bomb(*sizes, draw(st.sampled_from(("list", "mapping", "merge"))))
        last = f"*a{sizes[0] - 1}"
        return start + _with_value(draw, text, last) if draw(st.booleans()) else text + start
    if form == "value":
        circular = draw(st.sampled_from(CIRCULAR))
        return _with_value(draw, text, draw(st.sampled_from((circular, draw(fragments), draw(texts)))))
    if form == "deep":
        times = draw(st.sampled_from((39, 41, 500, 5000, 90_000)))
        opened, closed = draw(st.sampled_from((("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", ""), ("- a: ", ""))))
        return _with_value(draw, text, opened * times + "x" + closed * draw(st.sampled_from((times, 0))))
    axes = draw(st.integers(1, 4))
    names = ("width", "levels", "bias", "norm")[:axes]
    numbers = str(list(range(1, draw(st.sampled_from((3, 30, 1000))))))
    return text.replace("entrants:\n", f"entrants:\n  - unet: {{{', '.join(f'{n}: {numbers}' for n in names)}}}\n", 1)


def _with_value(draw: st.DrawFn, text: str, value: str) -> str:
    """Return YAML text with the value of a random field replaced."""
    matches = list(re.finditer(r"(?<=: )[^\s,{}\[\]]+|(?<=- )\S+$", text, re.MULTILINE))
    match = draw(st.sampled_from(matches))
    return text[: match.start()] + value + text[match.end() :]


@st.composite
def encoded(draw: st.DrawFn) -> bytes:
    """Draw bytes with an unusual encoding, invalid characters, or excessive length."""
    text = draw(st.sampled_from(SHIPPED)).encode()
    return draw(
        st.one_of(
            st.binary(max_size=200),
            st.sampled_from(("utf-16", "utf-32", "utf-8-sig", "utf-7")).map(text.decode().encode),
            st.sampled_from((b"", b"\0", b"\xff", b"\xed\xa0\x80", b"\x1f\x8b\x08\0", b"\x89PNG\r\n")).map(
                lambda part: text[:50] + part + text[50:]
            ),
            st.sampled_from((60_000, 190_000, 300_000, 3_000_000)).map(lambda count: text + b"# " + b"x" * count),
            st.sampled_from((60_000, 190_000, 300_000)).map(lambda count: text.replace(b": ", b": [x," * count, 1)),
            st.just(text.replace(b"\n", b"\r\n")),
            st.just(text.replace(b"\n", b"\r")),
        )
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")


CASES = st.one_of(
    tampered().map(_bytes),
    tampered().map(_bytes),
    st.sampled_from(SHIPPED).flatmap(mutated).map(_bytes),
    crafted().map(_bytes),
    encoded(),
)

CAMPAIGN = Campaign(CASES, attempt, prepare=load_everything)
