"""Columns of tables, CSV and Parquet."""
