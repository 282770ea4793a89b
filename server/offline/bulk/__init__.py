"""Scores files of queries: in chunks, by forked processes, with an output file that an interrupted run continues."""
