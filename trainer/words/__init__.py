"""Word vectors that come with the package, and the file that holds them."""
