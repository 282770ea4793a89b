"""The behaviour of a server under more load than it can answer: `python -m astec.loadtest.overload`."""
