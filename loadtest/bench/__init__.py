"""`make bench`: the cost of a query in process and over HTTP, and the accuracy, from one run on one machine."""
