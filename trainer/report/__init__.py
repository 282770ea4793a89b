"""What a run did and what its model does, for people to look at."""
