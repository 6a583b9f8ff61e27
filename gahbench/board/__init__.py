"""Statistics of results: intervals, ranks, the leaderboard, and verdicts on claims, from the tidy table of scores."""
