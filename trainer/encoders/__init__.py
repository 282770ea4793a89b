"""The encoders, which turn a text into its intermediate representation v.

A new encoder is a file here and a line in `trainer/settings/encoder_kinds.py`.
"""
