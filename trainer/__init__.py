"""The offline trainer: from texts and labels to a checkpoint (DeepXML/Astec)."""
