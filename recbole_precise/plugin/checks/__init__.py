"""Checks of a run's settings that need to know RecBole, its models or the data."""
