"""What a server does with more than it can answer: `python -m astec.loadtest.overload`."""
