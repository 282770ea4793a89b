"""`make rivals`: our server beside other serving frameworks that serve the same model on the same cores."""
