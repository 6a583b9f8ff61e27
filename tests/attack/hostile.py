"""Values and strings that may break readers, for strategies of several campaigns."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

#: Strings with a meaning in YAML, terminals, file systems, or specs.
FRAGMENTS = (
    "\0", "\ud800", "\ufeff", "\t", "\r", "\n", "\n  ", "\u2028", "\x1b[2J", "\x85", "\u202e", "\U0010ffff", "é", "α",
    "&a ", "*a", "*b", "<<", "<<: *a", "!!merge <<: *a", "!!python/object/apply:os.system [echo]",
    "!!python/name:os.system", "!!timestamp 2024-13-45", "!!timestamp 2024-02-30T25:61:61", "!!binary =",
    "!!binary aGk=", "!!int x", "!!int ''", "!!float x", "!!bool maybe", "!!null x", "!!set {a, b}", "!!omap [a: 1]",
    "!!pairs [a: 1]", "!!str [a]", "!!map [a]", "!!seq {a: 1}", "!local x", "!<tag:yaml.org,2002:int> 3", "! x",
    "2024-13-45", "12:30", "on", "~", "null", "true", "=", "0x", "0xg", "0o9", "1_000", "1e", "1e400", "-1e400",
    "1e-400", ".inf", "-.inf", ".nan", "-0", "-0.0", "010", "'", '"', "''", '""', "\\", '"\\0"', '"\\ud800"',
    '"\\x1b"', '"\\N"', '"\\u12"', "[", "]", "{", "}", "[]", "{}", ",", ":", ": ", "? ", "- ", "#", " #", "%",
    "%YAML 9.9\n---\n", "%TAG ! tag:x,1:\n---\n", "---\n", "...\n", "@", "`", "|", "|9\n", ">", ">-\n", "[[", "{{",
    "*", "&", "!", "!!", "/", "../..", "/dev/zero", "/etc/passwd", "~nobody/x", "~", "a/b", "C:\\x", "CON", ".", "..",
    "-", "--help", "$(x)", "{0}", "%s", "__class__", "x=1", "==", "[a=1]", "a[b[c]]",
)  # fmt: skip
WHOLE = (0, 1, -1, 2, 3, 7, 40, 255, 1000, 10**6, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400)
REAL = (0.0, -0.0, 0.1, 0.5, 1.0, -1.0, 1e-300, 1e308, 5e-324, float("inf"), float("-inf"), float("nan"))

fragments = st.sampled_from(FRAGMENTS)
#: Lengths at which behaviour may change, such as limits of file names.
lengths = st.sampled_from((1, 2, 100, 101, 255, 256, 1000, 4096, 10_000, 30_000))


@st.composite
def long_texts(draw: st.DrawFn) -> str:
    """Draw a long repetition of a few characters."""
    return draw(st.text(min_size=1, max_size=3) | fragments) * draw(lengths)


texts = st.one_of(st.text(max_size=10), fragments, st.lists(fragments, max_size=4).map("".join), long_texts())
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(WHOLE),
    st.integers(-3, 40),
    st.sampled_from(REAL),
    st.floats(0, 2),
    st.sampled_from(("haar", "sym4", "dct", "psnr", "discs", "unet", "identity", "wavelet[db4,levels=3]")),
    texts,
)


def nested(depth: int, is_mapping: bool) -> Any:
    """Return a value nested in ``depth`` lists or mappings."""
    value: Any = "x"
    for _ in range(depth):
        value = {"x": value} if is_mapping else [value]
    return value


values = st.one_of(
    scalars,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | st.integers(0, 3), inner, max_size=3),
        max_leaves=8,
    ),
    st.builds(nested, st.sampled_from((3, 10, 39, 41, 100, 400)), st.booleans()),
    st.sampled_from((10, 1000, 60_000)).map(lambda count: list(range(count))),
)


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """Draw a string with some parts inserted, removed, repeated or replaced."""
    for _ in range(draw(st.integers(0, 4))):
        first, second = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        second = min(second, first + draw(st.sampled_from((1, 3, 20, 200))))
        part = text[first:second]
        change = draw(st.sampled_from(("insert", "drop", "double", "replace", "repeat")))
        replacement = {
            "insert": lambda part: draw(fragments) + part,
            "drop": lambda part: "",
            "double": lambda part: part + part,
            "replace": lambda part: draw(texts),
            "repeat": lambda part: part * draw(st.sampled_from((3, 50, 2000))),
        }[change](part)
        text = (text[:first] + replacement + text[second:])[:1_000_000]
    return text
