"""The embedded demo: a made-up click log of a sponsored search engine."""
