"""RecBole's checkpoints: pickles that are read without running what they name."""
