"""What finished runs have learnt, looked at from inside.

The studies of the PAD paper, for the command `inspect` (docs/pad.md).
"""
