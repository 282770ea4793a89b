"""The models of a server: their releases, and which of them ranks a query."""
