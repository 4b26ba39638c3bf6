"""Style, templates and number notation that reports, leaderboards and benchmark pages share."""
