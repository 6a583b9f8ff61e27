"""From the tidy table to numbers: intervals, ranks, the leaderboard."""
