"""From a representation to the candidate labels that are scored."""
