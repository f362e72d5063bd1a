"""The operating system: signals, locks, the clock, logs and imports."""
