"""The formats of files of texts and labels: JSON Lines, TSV, fastText, sparse rows and arrays."""
