"""Search for the settings of a model.

Spaces are in RecBole's .hyper files, processes share studies, and reports show what was found.

`space` reads and checks a file, `store` keeps a study on disk, `study` hands out its trials,
`trial` runs one in this process, `session` goes on until the budget is used, `report` and `plot`
show what was found.
"""
