"""Reports of a load test: figures, budgets, plots and the machine they were measured on."""
