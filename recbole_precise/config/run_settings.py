"""Settings that every run has, beside RecBole's own."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import Settings, setting


@dataclass
class RunSettings(Settings):
    """Keys that recbole_precise adds to RecBole's own.

    Every key stands here once, with its default.
    """

    name = "overall"
    notes = (
        "Keys of one model stand in model/<Name>.yaml, protocols of one data set in "
        "dataset/<name>.yaml."
    )

    recipe: str = setting(
        "best",
        "best: what measured best on the data set; default: the model's defaults on any; paper: "
        "what the paper and its authors' code do.",
        group="Run",
        choices=("best", "default", "paper"),
    )
    model_source: str | None = setting(
        None,
        "Where a model from outside the package is: file.py:Class or package.module:Class; "
        "written by a run, --model=file.py:Class says it.",
    )
    run_dir: str | None = setting(
        None, "Directory of this run; default: <checkpoint_dir>/<model>-<dataset>-<time stamp>."
    )
    result_file: str | None = setting(None, "Where to write a copy of result.json.")
    resume: bool = setting(False, "Go on from the last checkpoint in run_dir.")
    checkpoint_seconds: float = setting(
        60, "Write a checkpoint inside an epoch when the last one is older than this.", low=0
    )
    threads: int | None = setting(
        None, "CPU threads for torch; default: torch's own choice.", low=1
    )
    log_flops: bool = setting(False, "Count FLOPs as RecBole does (copies the model, needs thop).")
    tensorboard: bool = setting(True, "Write TensorBoard events into run_dir.")
    trust_pickle: bool = setting(
        False, "Allow unpickling of a checkpoint file that this package did not write."
    )
    amp_dtype: str = setting(
        "bf16",
        "Type of autocast when enable_amp is True: bf16 or fp16.",
        group="Training",
        choices=("bf16", "fp16"),
    )
    lr_schedule: str = setting(
        "constant",
        "constant, cosine or linear: how the learning rate falls to 0 over the epochs of a phase.",
        choices=("constant", "cosine", "linear"),
    )
    warm_start: str | None = setting(
        None,
        "Directory of a finished run: the weights that this model shares with its model are the "
        "beginning.",
    )
    train_minutes: float | None = setting(
        None,
        "End a phase at the first validation after so many minutes, with the best weights by "
        "then; default: no limit.",
        above=0,
    )
    train_clock: str = setting(
        "wall",
        "What train_minutes, and the hours of tune, count: wall, or processor time of this "
        "process, which other work on the machine does not eat.",
        choices=("wall", "processor"),
    )
    keep_freed_memory: bool = setting(
        True,
        "On a CPU, keep freed memory for the next step instead of giving it back to the system; "
        "RecBole's models train up to twice as fast, with up to a quarter more memory.",
    )
    warmup_steps: int = setting(0, "Steps over which the learning rate first rises from 0.", low=0)
    train_rows: str | None = setting(
        None,
        "windows: all positions of a window in one row; prefixes: RecBole's one row per target. "
        "Default: windows for our models, prefixes for RecBole's.",
        group="Sequences",
        choices=("windows", "prefixes"),
    )
    window_stride: int | None = setting(
        None,
        "New targets per training window, at most MAX_ITEM_LIST_LENGTH (the default); less gives "
        "each target more history.",
        low=1,
    )
    window_shift: bool = setting(
        False,
        "Draw again where windows begin before every epoch (each target still once), so that "
        "targets meet histories of all lengths.",
    )
    sequence_fields: list | str | None = setting(
        None,
        "Fields of .inter given to the model as lists; default: the item alone for our models, "
        "all for RecBole's.",
    )
    time_order: str = setting(
        "exact",
        "exact: order events by their times as read; recbole: by RecBole's float32 times.",
        choices=("exact", "recbole"),
    )
    tie_break: str = setting(
        "file",
        "Order of events with equal times: file (as in .inter) or random (fixed by tie_seed).",
        choices=("file", "random"),
    )
    tie_seed: int = setting(
        2020,
        "Seed of tie_break: random; apart from `seed`, so that all seeds share their test cases.",
        low=0,
        high=2**63 - 1,
    )
    scene_field: str | None = setting(
        None,
        "Token column of .inter that names each event's scene.",
        group="Scenes (docs/scenes.md)",
    )
    scene_rules: dict | None = setting(
        None,
        'Scenes by rules over columns of .inter, such as {like: "rating >= 4"}; an event may be '
        "in several.",
    )
    target_scene: str | None = setting(
        None, "The scene that is evaluated; default: all events are one."
    )
    scene_view: str | None = setting(
        None,
        "universal: train on the events of all scenes; target: on the target scene's own "
        "sequences; context: on its events behind the history of all scenes. Default: the "
        "model's, else target.",
        choices=("universal", "target", "context"),
    )
    evaluator: str = setting(
        "exact",
        "exact: ranks counted with ties against the model, and metrics of top lists "
        "(docs/methods.md 4); recbole: RecBole's own evaluator.",
        group="Evaluation",
        choices=("exact", "recbole"),
    )
    mask_history: bool = setting(
        False,
        "Exclude the items of a user's history from the ranking (the PAD paper does, RecBole "
        "does not).",
    )
    score_budget_mb: float = setting(
        64, "Memory for counting ranks, beside a block of scores; no number depends on it.", above=0
    )
    slices: list | None = setting(
        ["frequency", "popularity", "buckets", "history", "repeat", "holdout"],
        "Parts of the test rows reported beside the metrics, with their counts (docs/methods.md "
        "4).",
        choices=("frequency", "popularity", "buckets", "history", "repeat", "holdout"),
    )
    holdout_items: float | None = setting(
        None,
        "Share of the items that no training row holds; they stay candidates and test targets. "
        "Default: none.",
        group="Cold items (docs/cold-items.md)",
        above=0,
        below=1,
    )
    holdout_users: float | None = setting(
        None,
        "Share of the users who have no training row; they are evaluated as all. Default: none.",
        above=0,
        below=1,
    )
    holdout_by: str = setting(
        "random",
        "Which items: random (drawn from holdout_seed) or first_seen (those whose first event is "
        "the latest).",
        choices=("random", "first_seen"),
    )
    holdout_seed: int = setting(
        2020,
        "Seed of holdout_by: random and of holdout_users; apart from `seed`, so that all seeds "
        "share their held-out items.",
        low=0,
    )
    item_text: str | list | None = setting(
        None,
        'Template over the columns of .item ("{title} {brand}") or a list of columns.',
        group="Item text",
    )
    text_file: str | None = setting(
        None, "File with item texts instead of .item: .jsonl, .tsv or .csv with a column item_id."
    )
    text_encoder: str = setting(
        "auto", "auto (the bundled all-MiniLM-L6-v2), a local folder, or a Hugging Face name."
    )
    text_max_tokens: int = setting(
        32, "Tokens of an item's text that are read; the rest is cut.", low=1
    )
    text_batch_size: int = setting(64, "Texts per batch while encoding.", low=1)
    text_layers: int | None = setting(
        None, "Layers of the encoder that are read, from the first on; default: all.", low=0
    )
    text_dtype: str = setting(
        "float32",
        "Arithmetic of the encoder: float32, bf16 or fp16.",
        choices=("float32", "bf16", "fp16"),
    )
    text_device: str | None = setting(None, "Device of the encoder; default: the model's device.")
    text_cache_dir: str | None = setting(
        None,
        "Where token states are cached; default: $RECBOLE_PRECISE_CACHE or "
        "~/.cache/recbole_precise.",
    )
