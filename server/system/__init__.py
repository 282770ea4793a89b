"""The process and its machine: usable CPUs, memory, library threads and the page cache."""
