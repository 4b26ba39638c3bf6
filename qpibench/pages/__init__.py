"""What reports, leaderboards and benchmark pages share: style, notation, and writing a file whole."""
