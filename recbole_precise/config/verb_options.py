"""The options of each verb, which are no settings of a run: what `VERB --help` lists and what the
verb takes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """`value`: its default, or a word for what it takes; `meaning`: one line.

    One whose value is True or False may stand alone.
    """

    value: str
    meaning: str

    @property
    def is_switch(self) -> bool:
        """Whether `--key` means `--key=True`."""
        return self.value in ("True", "False")


_PLOTS = Option("True", "False: draw nothing, and need no matplotlib")
_RUN_DIR = Option("RUN", "directory of a finished run")
_NEW_ITEMS = Option(
    "FILE",
    "items that came after training: .item, .tsv, .csv or .jsonl with item_id and the columns of "
    "the run's texts",
)

VERB_OPTIONS: dict[str, dict[str, Option]] = {
    "run": {
        "model": Option("NAME", "a model of ours or of RecBole"),
        "dataset": Option("NAME", "a data set: a folder of atomic files, or ml-100k"),
        "config_files": Option('"a.yaml b.yaml"', "files of settings; the command line goes "
                                                  "before them"),
        "nproc": Option("1", "processes on this machine that train together"),
        "world_size": Option("N", "processes on all machines; default: nproc"),
        "group_offset": Option("0", "number of this machine's first process among all"),
        "ip": Option("localhost", "address of the first machine"),
        "port": Option("5678", "port on it"),
    },
    "encode": {
        "dataset": Option("NAME", "a data set whose items have texts"),
        "model": Option("PRECISE-UT", "a model whose settings of texts count"),
        "config_files": Option('"a.yaml b.yaml"', "files of settings"),
    },
    "convert": {
        "source": Option("NAME", "amazon-2014, amazon-2018, amazon-2023, kaggle-books, mind, "
                                 "movielens, pad, csv or parquet"),
        "input": Option("DOWNLOAD", "the raw files: a folder, or one file for csv and parquet"),
        "output": Option("dataset/NAME", "folder of the atomic files and the data set's YAML"),
        "overwrite": Option("False", "replace a data set that is there already"),
        "preset": Option("NAME", "a paper's rules: pad or precise-books"),
        "known_items": Option("False", "leave out events of items without metadata"),
        "min_rating": Option("NUMBER", "leave out lower ratings"),
        "min_user_events": Option("1", "leave out users with fewer events"),
        "min_item_events": Option("1", "leave out items with fewer events"),
        "last_events": Option("N", "a user's latest events alone"),
        "last_of_longer": Option("N", "so many of a user who has more than last_events"),
        "items": Option("interacted", "items that are written: interacted, or all"),
        "tie_break": Option("random", "events of one user and one time: random, or file"),
        "tie_seed": Option("2020", "seed of that order"),
        "scene": Option("COLUMN", "what becomes the scene of an event"),
        "scene_rating": Option("4.0", "rating from which on the scene is high, for scene: rating"),
        "skip_bad_rows": Option("False", "leave out rows that cannot be used, and list them, "
                                         "instead of refusing the files"),
        "clicks": Option("history", "mind: history, or impressions"),
        "unescape": Option("True", "pad: turn HTML entities in titles into characters"),
        "user": Option("COLUMN", "csv, parquet: the users"),
        "item": Option("COLUMN", "csv, parquet: the items"),
        "time": Option("COLUMN", "csv, parquet: the times"),
        "rating": Option("COLUMN", "csv, parquet: ratings"),
        "text": Option("COLUMNS", "csv, parquet: the items' texts, such as title,brand"),
        "scene_column": Option("COLUMN", "csv, parquet: scenes, written as the column scene"),
        "item_file": Option("FILE", "csv, parquet: a table of the items"),
        "separator": Option("CHARACTER", "csv: between columns; default: a comma, in .tsv a tab"),
        "encoding": Option("NAME", "csv: of the files, such as latin-1; default: utf-8"),
        "time_format": Option("FORMAT", "csv, parquet: of times that are text, such as %d/%m/%Y"),
    },
    "tune": {
        "params_file": Option("FILE.hyper", "the space; default: the one that comes with the "
                                            "model"),
        "trials": Option("30", "trials in all, over all processes and sessions; for a grid all "
                               "of its points"),
        "hours": Option("H", "hours of trials in all; without it no limit"),
        "sampler": Option("tpe", "tpe, random, or grid"),
        "start": Option("settings", "first trial: settings (as they are), or drawn; default for "
                                    "random: drawn"),
        "pruner": Option("median", "median: end trials that are below the others at their epoch; "
                                   "or none"),
        "prune_after": Option("5", "epochs that every trial gets"),
        "metric": Option("NDCG@10", "what is searched for on validation data, and what stops a "
                                    "trial early"),
        "study": Option("MODEL-DATASET", "name of the study"),
        "storage": Option("FILE.db", "SQLite file of the study, or a database such as "
                                     "postgresql://user@host/database; processes that name the "
                                     "same one share it"),
    },
    "audit": {
        "output": Option("saved/audit-DATASET", "folder of audit.md, audit.json and the plots"),
        "text": Option("words", "likeness of texts: words, encoder, or none"),
        "shuffles": Option("299", "random copies that each figure is set beside"),
        "most_events": Option("500000", "copies are made of random users with at most so many "
                                        "events"),
        "plots": _PLOTS,
    },
    "benchmark": {
        "plan": Option("NAME_OR_YAML", "a shipped plan or a file of one; may stand without "
                                       "--plan="),
        "datasets": Option('"A B"', "data sets of the plan, or one that it names on request "
                                    "alone; default: all but those"),
        "models": Option("\"A 'B C'\"", "rows of the plan, names with spaces in quotes; default: "
                                        "all"),
        "seeds": Option('"1 2"', "seeds; default: the plan's"),
        "against": Option("ROW", "row that every other one is paired with; default: the plan's"),
        "runs": Option("saved/benchmark", "folder of the runs; what is finished there is not run "
                                          "again"),
        "output": Option("RUNS/report-PLAN", "folder of the report"),
        "jobs": Option("2", "cells at a time; 1 on one core"),
        "memory_gb": Option("2.0", "memory that a cell needs as long as none of its row is "
                                   "finished; 0: do not look at memory"),
        "dry_run": Option("False", "print the commands alone"),
        "report_only": Option("False", "tables of what is finished, and run nothing"),
        "plots": _PLOTS,
    },
    "compare": {
        "metric": Option('"ndcg@10 recall@10"', "metrics; default: those of both runs"),
        "split": Option("test", "test, or valid"),
        "confidence": Option("0.95", "of the intervals"),
        "resamples": Option("9999", "random draws of each interval and test"),
        "seed": Option("0", "of these draws"),
        "output": Option("FILE.json", "the same numbers as a file"),
    },
    "inspect": {
        "output": Option("FOLDER", "leave the table as Markdown and JSON, with a plot"),
        "plots": _PLOTS,
        "data_path": Option("FOLDER", "where the data sets lie now"),
        "text_cache_dir": Option("FOLDER", "where the cached texts lie now"),
        "split": Option("test", "test, or valid; discrepancy and separation: valid"),
        "seed": Option("0", "of what is drawn"),
        "reference": Option("id", "discrepancy, separation: the space that others are held "
                                  "against, of the first run that has it"),
        "spaces": Option('"id text"', "discrepancy, separation: these others; default: all"),
        "pairs": Option("200000", "discrepancy, separation: pairs of items at most, in each "
                                  "bucket"),
        "distance": Option("cosine", "discrepancy, separation: cosine, or euclidean"),
        "negatives": Option("0", "discrepancy: random items beside each target"),
        "trained_only": Option("False", "discrepancy: leave out items that were never trained"),
        "groups": Option("collaborative", "separation: collaborative, or random"),
        "share": Option("0.1", "separation: share of the pairs that count as near, and as far"),
        "metric": Option("ndcg@10", "gains: the metric"),
        "slices": Option('"frequency buckets"', "gains: kinds of slices"),
        "confidence": Option("0.95", "gains: of the intervals"),
        "resamples": Option("9999", "gains: random draws of each interval and test"),
        "neighbours": Option("10", "similarity: nearest items that are compared"),
    },
    "replay": {
        "period": Option("week", "day, week, month, or a number of days"),
        "time_unit": Option("s", "of the time stamps: s, ms or us"),
        "reload_every": Option("1", "periods between two reloads"),
        "blend": Option("1", "share of the universal weights in a reload"),
        "memory": Option("all", "periods whose targets PRECISE-UT trains in each period"),
        "cases": Option("all", "all, or first: each returning user's first of the period"),
        "seeds": Option('"2020 2021"', "several seeds; default: the setting seed"),
        "output": Option("saved/replay-DATASET", "folder of the table, results, plot and models"),
        "plots": _PLOTS,
    },
    "evaluate": {
        "run_dir": _RUN_DIR,
        "split": Option("test", "test, or valid"),
        "items": _NEW_ITEMS,
        "cold": Option("True", "False: without the report on items that were held out of training"),
        "output": Option("FILE.json", "default: evaluation-SPLIT.json beside the run's result"),
    },
    "recommend": {
        "run_dir": _RUN_DIR,
        "users": Option('"u1 u2"', 'users by name; a name with blanks in quotes, or all as a '
                                   'JSON list'),
        "users_file": Option("FILE", "a user a line"),
        "history": Option('"i1 i2"', 'items instead of a user, the oldest first; names as for '
                                     '--users'),
        "topk": Option("10", "items for each user"),
        "items": _NEW_ITEMS,
        "only_new": Option("False", "rank the new items among themselves"),
        "seen": Option("exclude", "items of the history: exclude, or include"),
        "output": Option("FILE", "write .tsv or .jsonl instead of printing"),
    },
    "doctor": {
        "dataset": Option("NAME", "a data set"),
        "fix": Option("FOLDER", "write mended copies into FOLDER/NAME"),
    },
    "demo": {"dataset": Option("ml-100k", "the data set")},
}  # fmt: skip


def is_verb_switch(key: str) -> bool:
    """Whether `key` is an option of a verb that takes True or False alone."""
    return any(options[key].is_switch for options in VERB_OPTIONS.values() if key in options)


def own_of(verb: str) -> tuple[str, ...]:
    """Names of a verb's options."""
    return tuple(VERB_OPTIONS[verb])


def take_own(verb: str, given: dict[str, str]) -> dict[str, str]:
    """The options of a verb among what was given, taken out of it."""
    return {key: given.pop(key) for key in own_of(verb) if key in given}
