"""The website of results folders."""
