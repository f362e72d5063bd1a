"""Where RecBole is met: patches, checkpoints, Config, data sets and the trainer."""
