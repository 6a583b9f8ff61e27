// Lists the pages of the site of boards that contain all words of the query, above the results of the documentation.
"use strict";

{
  const MOST = 20;
  const query = new URLSearchParams(location.search).get("q") ?? "";
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  // Without a site around the documentation there are no entries.
  const entries = typeof siteEntries === "undefined" || !words.length ? [] : siteEntries;
  const matches = entries.filter((entry) => words.every((word) => entry.join(" ").toLowerCase().includes(word)));
  const section = document.querySelector("#site-results");
  for (const [title, address, kind, name] of matches.slice(0, MOST)) {
    const link = document.createElement("a");
    link.href = `../${address}`;
    link.textContent = title;
    const item = document.createElement("li");
    item.append(link, ` ${kind} ${name}`);
    section.querySelector("ul").append(item);
  }
  if (matches.length > MOST) {
    const item = document.createElement("li");
    item.textContent = `and ${matches.length - MOST} more`;
    section.querySelector("ul").append(item);
  }
  section.hidden = !matches.length;
}
