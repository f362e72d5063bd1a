"""Periodical warm-up (PRECISE Sec.

IV-E1): data in the order of time, universal and targeted training period by period.
"""
