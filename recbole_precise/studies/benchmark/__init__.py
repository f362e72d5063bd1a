"""Make benchmark tables that hold.

A YAML names models, data sets and seeds; every cell is a run of its own; means, spread, tests and
plots follow.

`plan` reads the YAML, `cells` turns it into runs, `running` runs them, `pairing` compares finished
runs, `summary` makes the numbers of the table, `tables` and `plots` show them.
"""
