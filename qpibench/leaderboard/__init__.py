"""Leaderboard: checks and ranks results and writes them as a static site."""
