"""The works that plugins cite."""

import re
from pathlib import Path

import pytest

import gahbench
from gahbench._util.errors import PluginError
from gahbench.contracts.citation import known_works
from gahbench.registry.configured import KINDS, Plugin, citation_rows, citations

WORK = gahbench.Citation("Wiener, Norbert", "Smoothing", 1949)
YEAR = re.compile(r"\b(?:18|19|20)\d\d\b")


def citations_of(citation):
    return citations(Plugin("reference", "mine", type("Mine", (), {"citation": citation}), "mine.py"))


def test_a_plugin_cites_one_work_or_several_or_none():
    for citation, works in ((WORK, (WORK,)), ((WORK, WORK), (WORK, WORK)), (None, ())):
        assert citations_of(citation) == works
    assert [work.doi for work in citations_of(("chang-2000", WORK))] == ["10.1109/83.862633", ""]
    for invalid in ("Wiener 1949", (WORK, "Wiener 1949")):
        with pytest.raises(PluginError, match="reference 'mine': its citation is 'Wiener 1949'; accepted: a gahbench"):
            citations_of(invalid)


def test_each_work_of_the_built_in_plugins_is_read_from_its_entry_and_cited(builtin):
    works, text = known_works(), (Path(__file__).parents[2] / "plugins" / "papers.bib").read_text(encoding="utf-8")
    assert len(works) == text.count("\n@") + 1
    for name, field in (("author", "authors"), ("title", "title"), ("journal", "journal"), ("doi", "doi")):
        values = re.findall(rf"\b{name} = {{(.*?)}}", text, flags=re.DOTALL)
        assert sorted(" ".join(value.split()) for value in values) == sorted(
            value for work in works.values() if (value := getattr(work, field))
        )
    cited = {work for kind in KINDS for plugin in builtin.plugins(kind) for work in citations(plugin)}
    cited |= {claim.paper for name in builtin.names("claim") for claim in builtin.configure("claim", name).build()}
    assert cited == set(works.values())


def test_built_in_plugins_whose_docstring_names_a_work_have_a_citation(builtin):
    plugins = [plugin for kind in KINDS for plugin in builtin.plugins(kind)]
    named = [plugin for plugin in plugins if YEAR.search((plugin.factory.__doc__ or "").partition("Parameters\n")[0])]
    assert len(named) > 60
    assert [plugin.where for plugin in named if not citations(plugin)] == []


def test_the_years_of_citations_appear_in_the_docstring(builtin):
    """A plugin whose docstring names years cites works of these years."""
    invalid = []
    for plugin in (plugin for kind in KINDS for plugin in builtin.plugins(kind)):
        years = set(YEAR.findall(plugin.factory.__doc__ or ""))
        invalid += [(plugin.where, work.key) for work in citations(plugin) if years and str(work.year) not in years]
    assert invalid == []


def test_citation_rows_name_the_entry_and_the_nested_plugin_without_duplicates(builtin):
    entries = [builtin.configure("reference", "cycle-spin[threshold[haar]]"), builtin.configure("basis", "haar")]
    rows = [(row["entry"], row["plugin"], row["year"]) for row in citation_rows([*entries, *entries])]
    outer = "cycle-spin[threshold[haar]]"
    assert rows == [
        (outer, "cycle-spin", 1995),
        (outer, "threshold", 1994),
        (outer, "haar", 1989),
        ("haar", "haar", 1989),
    ]
