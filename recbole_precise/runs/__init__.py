"""The directory of a run: results, checkpoints, identity and vocabulary."""
