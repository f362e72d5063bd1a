"""Training: phases, checkpoints that survive anything, and RecBole's trainer around them."""
