"""The offline trainer of DeepXML/Astec: it learns a checkpoint from texts and labels."""
