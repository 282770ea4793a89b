"""The artifact: the contract between training, exporting and serving."""
