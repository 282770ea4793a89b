"""The process and its machine: CPUs, memory, library threads and the page cache."""
