"""The parts that models are composed of: plain torch, no RecBole."""
