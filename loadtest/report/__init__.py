"""Reports of load: figures, budgets, plots, pages of results, and the machine of the measurement."""
