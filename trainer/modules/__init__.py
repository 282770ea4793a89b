"""The learning modules of Astec (paper, section 4), and the parts of a score beside them."""
