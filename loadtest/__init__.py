"""Load tests of a server: the load generator, its reports, and the benchmarks built on it."""
