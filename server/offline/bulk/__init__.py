"""Scoring files of queries: chunks to forked processes, answers to a file that can be continued."""
