"""`make family`: trains every encoder, framework and system on one data set, exports, serves and measures it."""
