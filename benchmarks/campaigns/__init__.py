"""Reliability campaigns: commands that are killed, starved, fed with damaged files and run against each other."""
