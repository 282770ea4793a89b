"""Encoders: what turns a text into its intermediate representation v. A new one is a file here and a line in
`trainer/settings/encoder_kinds.py`.
"""
