"""Results whose names, notes and errors contain markup, and a parser of pages."""

from html.parser import HTMLParser

from fake_results import failure, fit, realistic, results

HOSTILE = (
    "<script>alert(1)</script>",
    "\"quotes' & </style>[a=1]",
    "emoji 🌲",
    "long " + 295 * "x",
    "עברית [x=1]",
)
NAME = 'c-alpha[alpha=2]"><img src=x>'
RUN = "\"><b>run' 🌲"
#: Text files of a folder of results, by path.
TEXTS = {
    "claims.md": "# Claims\n\n[This](kept/README.md), [that](../x.md), <i>those</i>.\n\n| a |\n| - |\n| <b>b</b> |\n",
    "README.md": "[the run](kept/leaderboard.md)\n",
    "kept/README.md": "# What\n## What it shows\n- <i>This</i> & [that](../README.md). More.\n\n![](figures/x.png)\n",
}

#: A claim that the run of the fixture ``kept_run`` measures.
CLAIM = """
paper: {authors: "Author, An", title: On optimal denoisers, year: 2020, journal: A Journal}
claims:
  above-input:
    location: abstract
    checked: unverified
    statement: The optimum is above the noisy image.
    measure: {metric: psnr, entrants: optimal, datasets: "*", sigma: mean, minus: {entrant: identity}}
    region: {above: 0}
    suite: quick
"""


def hostile_results(entrants=12):
    entrant_rows = [
        (name, "trained" if index < 2 else "classical", 0.3 * index, 0.6, 1) for index, name in enumerate(HOSTILE)
    ]
    entrant_rows += [
        (f"plain-{index}", "classical", 2 + 0.2 * index, 0.6, 1) for index in range(entrants - len(entrant_rows))
    ]
    scores, fits, datasets = realistic(entrant_rows, NAME, images=6)
    failures = [failure(NAME, "gone", 0, "Error: <b>bold</b>"), failure(NAME, HOSTILE[0], 0, "</pre><script>", "score")]
    fits.append(fit(NAME, "gone", 1))
    labels = [name for name, *_ in entrant_rows]
    return results(scores, fits, failures, datasets, [*labels, "gone"], labels[-1])


class Read(HTMLParser):
    """The tags of a page with their attributes, and its text outside scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.within = [], "", ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.within = tag

    def handle_endtag(self, tag):
        self.within = ""

    def handle_data(self, data):
        if self.within not in ("script", "style"):
            self.text += data

    @property
    def addresses(self):
        return [attributes[name] for _, attributes in self.tags for name in ("href", "src") if attributes.get(name)]

    def check_policy(self):
        """Check that the content security policy of the page refuses none of its content."""
        (policy,) = [
            attributes["content"]
            for _, attributes in self.tags
            if attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not [
            attributes
            for _, attributes in self.tags
            if "style" in attributes or any(key.startswith("on") for key in attributes)
        ]
        assert sum(tag == "script" for tag, _ in self.tags) == 1
        assert not {"b", "i", "iframe"} & {tag for tag, _ in self.tags}
