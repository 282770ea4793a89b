"""astec-evaluate and astec-predict: offline use of an artifact, through the serving code."""
