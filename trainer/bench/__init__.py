"""The cost of training, measured on made-up data of published shapes: `astec-train bench`."""
