"""What is done with runs: audits, tables, tuning, inspection, replay and the doctor."""
