"""`make family`: every encoder, framework and system trained on one data set, exported, served and measured."""
