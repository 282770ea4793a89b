"""Signals of a query and its answer, by which one sees whether a model still fits the queries that it gets."""
