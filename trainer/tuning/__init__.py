"""The search for good settings: `astec-train tune`."""
