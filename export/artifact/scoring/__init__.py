"""From candidate labels to ranked ones: classifiers, sparse term, shares and probabilities."""
