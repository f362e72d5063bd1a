"""Search for the settings of a model: spaces in RecBole's .hyper files, studies that processes
share, and what comes out.

`space` reads and checks a file, `store` keeps a study on disk, `study` hands out its trials,
`trial` runs one in this process, `session` goes on until the budget is used, `report` and `plot`
show what was found.
"""
