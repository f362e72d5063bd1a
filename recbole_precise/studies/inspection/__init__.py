"""What finished runs have learnt: the studies of the PAD paper, for `inspect` (docs/pad.md)."""
