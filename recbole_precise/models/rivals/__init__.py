"""Published rivals of PRECISE and PAD."""
