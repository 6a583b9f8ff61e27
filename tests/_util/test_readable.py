"""Numbers and strings formatted for people."""

from gahbench._util.core_yaml import as_number
from gahbench._util.readable import brief, format_duration, format_number, level_name, pluralize

DURATIONS = {
    0: "0.0 s", 9.94: "9.9 s", 9.96: "10 s", 59.4: "59 s", 59.6: "1 min 00 s", 3599.6: "1 h 00 min", 7500: "2 h 05 min",
    86399: "1 d 00 h", 273600: "3 d 04 h", float("inf"): "unknown",
}  # fmt: skip
COUNTS = {0: "0", 840: "840", 1000: "1.0 k", 9949: "9.9 k", 92_160: "92 k", 999_600: "1.0 M", 7.66e6: "7.7 M"}


def test_durations_and_counts_are_formatted():
    assert {seconds: format_duration(seconds) for seconds in DURATIONS} == DURATIONS
    assert {count: format_number(count) for count in COUNTS} == COUNTS


def test_names_of_noise_levels_are_unique():
    close = (0.1234567, 0.12345671)
    assert len({level_name(sigma) for sigma in close}) == 2
    assert level_name(0.06) == "0.06"
    assert all(float(level_name(sigma)) == sigma for sigma in close)
    for grey in (1, 15, 25.5, 50, 100):
        assert float(as_number(level_name(grey / 255))) == grey / 255
    assert level_name(50 / 255) == "50/255"
    assert level_name(51 / 255) == "0.2"


def test_nouns_have_plurals():
    assert [pluralize(number, "unit") for number in (0, 1, 2)] == ["0 units", "1 unit", "2 units"]


def test_external_texts_become_a_short_line():
    assert brief("two\nlines\tand \x1b[2J") == "two lines and \\x1b[2J"
    assert brief(FileNotFoundError(2, "No such file", "x")) == "No such file"
    assert brief(ValueError()) == "ValueError"
    assert len(brief("x" * 10_000)) <= 200
