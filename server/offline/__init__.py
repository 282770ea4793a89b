"""Offline commands: astec-evaluate, astec-predict and astec-feedback."""
