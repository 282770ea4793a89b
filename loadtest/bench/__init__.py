"""`make bench`: one run, one machine, one page: what a query costs, in process and over HTTP, with P@k beside it."""
