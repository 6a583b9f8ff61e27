"""Reports of results: boards as tables and HTML pages, and figures."""
