"""Sequences, the RecBole dataset over them, item frequencies and converters of raw downloads."""
