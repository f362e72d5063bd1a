"""What finished runs have learnt, looked at from inside: the studies of the PAD paper, for the verb
`inspect` (docs/pad.md).
"""
