"""Bad settings, command lines, YAML files, plans and spaces, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from attack import SHOP, TRAIN, Attack

#: Models whose keys are tried; small sizes keep what is accepted short.
MODELS = {
    "SASRec-CE": ["--embedding_size=8", "--n_layers=1"],
    "GRU4Rec-CE": ["--embedding_size=8", "--hidden_size=8"],
    "gSASRec": ["--embedding_size=8", "--n_layers=1", "--n_negatives=4"],
    "PRECISE-ID": ["--embedding_size=8", "--token_size=8", "--n_layers=1"],
    "Pop": [],
    "Transition": [],
    "SASRec": ["--hidden_size=8", "--inner_size=8", "--n_layers=1"],
    "GRU4Rec": ["--embedding_size=8", "--hidden_size=8"],
    "BPR": ["--embedding_size=8"],
}
KEYS = [
    "gpu_id", "worker", "use_gpu", "seed", "state", "reproducibility", "checkpoint_dir",
    "show_progress", "save_dataset",
    "dataset_save_path", "save_dataloaders", "log_wandb", "shuffle", "epochs", "train_batch_size",
    "learner",
    "learning_rate", "train_neg_sample_args", "eval_step", "stopping_step", "clip_grad_norm",
    "weight_decay",
    "loss_decimal_place", "require_pow", "enable_amp", "enable_scaler", "transform", "eval_args",
    "repeatable",
    "metrics", "topk", "valid_metric", "valid_metric_bigger", "eval_batch_size",
    "metric_decimal_place", "loss_type",
    "field_separator", "seq_separator", "USER_ID_FIELD", "ITEM_ID_FIELD", "RATING_FIELD",
    "TIME_FIELD", "LABEL_FIELD",
    "NEG_PREFIX", "LIST_SUFFIX", "ITEM_LIST_LENGTH_FIELD", "MAX_ITEM_LIST_LENGTH", "seq_len",
    "threshold",
    "numerical_features", "load_col", "unload_col", "unused_col", "additional_feat_suffix",
    "rm_dup_inter",
    "val_interval", "filter_inter_by_user_or_item", "user_inter_num_interval",
    "item_inter_num_interval",
    "normalize_field", "normalize_all", "benchmark_filename", "encoding", "mask_ratio",
    "discretization",
    "preload_weight", "alias_of_item_id", "nproc", "local_rank", "device", "saved", "model",
    "dataset", "data_path",
    "recipe", "run_dir", "result_file", "resume", "checkpoint_seconds", "threads", "log_flops",
    "tensorboard",
    "trust_pickle", "amp_dtype", "lr_schedule", "warm_start", "train_minutes", "train_clock",
    "keep_freed_memory",
    "warmup_steps", "train_rows", "window_stride", "window_shift", "sequence_fields", "time_order",
    "tie_break",
    "tie_seed", "scene_field", "scene_rules", "target_scene", "scene_view", "evaluator",
    "mask_history",
    "score_budget_mb", "slices", "holdout_items", "holdout_users", "holdout_by", "holdout_seed",
    "item_text",
    "text_file", "text_encoder", "text_max_tokens", "text_layers", "text_device", "text_cache_dir",
    "embedding_size",
    "n_layers", "n_heads", "hidden_dropout_prob", "inner_size", "softmax", "n_negatives",
    "temperature", "experts",
    "hidden_act", "initializer_range", "layer_norm_eps", "id_init_std", "transition_memory",
    "label_smoothing", "epoch",
]  # fmt: skip
VALUES = [
    "", " ", "''", "~", "None", "true", "False", "0", "-0.0", "-1", "1", "2", "1.5", "1e-300",
    "1e308", "1e999", "inf",
    "-inf", "nan", ".inf", ".nan", "9" * 30, "9" * 5000, "1000000000", "0x10", "1_000", "10**9",
    "two", "a", "a b", "١٢",
    "[]", "[[]]", "[1]", "[a]", "[1, a]", "[~]", "[inf]", "[1e999]", "{}", "{a: }", "{a: 1}",
    "{1: 2}", "{a: [1, {b: ~}]}",
    "{inter: }", "{inter: []}", "{inter: [1]}", "{inter: '*'}", "{inter: user_id}",
    "{item: [item_id, title]}", "{intr: [a]}",
    "{max_norm: a}", "{max_norm: 1, norm: 2}", "{max_norm: inf}", "{max_norm: -1}",
    "{norm_type: 2}",
    "{distribution: uniform}", "{distribution: uniform, "
                               "sample_num: 0}", "{distribution: x}", "{sample_num: a}",
    "{distribution: popularity, alpha: a}", "{distribution: uniform, "
                                            "dynamic: True}", "{rating: '>=3'}",
                                            "{rating: '[5,1]'}",
    "{timestamp: 'x'}", "{brand: '[1,2]'}", "{rating: 3}", "{rating: a}", "{split: {LS: x}}",
    "{split: {RS: [1, a, 2]}}",
    "{split: {RS: [inf, 1, 1]}}", "{mode: labeled}", "{mode: uni0}", "{mode: uni999999999}",
    "{mode: {vlid: full}}",
    "{order: RO}", "{group_by: [1]}", "{split: ~}", "{mode: ~}", "{mode: {}}", "[5,10", "6,inf",
        "5..10", "[6,inf]",
    "[10,5]", "(5,5)", "[5,inf)", "[0,0]", "[a,b)", "[1,2);[3,4)", "[1,2);", "(inf,inf)",
    "{like: 'rating >= 4'}",
    "{like: rating}", "{like: [1]}", "user_id", "item_id", "nothing", "timestamp", "title",
    "[title]", "{title}", "{nothing}",
    "{title", "sparse_adam", "mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq",
        "user_defined", "cuda",
    "cuda:7", "cpu", "meta", "gpu", "0,1", "NDCG@10", "NDCG", "[NDCG, AUC]", "[AUC]",
    "Recall@99999", "exact", "recbole",
    "full", "random", "utf-16", "idna", "nosuch", "2024-01-01", "12:30", "\u202e", "\udcff",
    "a\x00b", "x" * 5000, "/",
    "/dev/null", "/dev/zero", "/proc/self/mem", "..", "run", "good", "part", "model.pth",
    "data/shop/shop.item", "[" * 3000,
    "[" * 60 + "]" * 60, "{" * 3000, "{a: " * 30 + "1" + "}" * 30, "(" * 300, "\n", "a\nb", "--x",
        "=", "a=b",
]  # fmt: skip
NASTY_YAML = [
    "{key}: 2024-01-01", "{key}: !!set {{a, b}}", "{key}: !!binary aGk=", "{key}: !!int x",
    "{key}: !!float x",
    "{key}: !!python/object/apply:os.system ['true']", "{key}: !x y", "? [a, b]\n: {key}",
    "? {{a: b}}\n: 1\n{key}: 1",
    "1: {key}", "~: {key}", "true: {key}", "2024-01-01: {key}", "{key}: &a [*a]", "{key}: *nothing",
    "{key}: 1\n{key}: 2",
    "{key}: 1\n---\n{key}: 2", "- {key}", "{key}", "", "# {key}", "{key}: [", "{key}: '",
        "\t{key}: 1", "{key}:\n\t- 1",
    "%YAML 9.9\n---\n{key}: 1", "{key}: {{a: {{? [b]\n: c}}}}", "<<: {{{key}: 1}}", "<<: [1]",
    "<<: *x", "{key}: !!omap [a: 1]",
    "{key}: |\n  a\n  b", "{key}: >\n  a", "{key}: 0777", "{key}: 0o17", "{key}: 1:99",
    "{key}: 12:30:45", "{key}: =",
    "{key}: .inf", "{key}: -.INF", "{key}: .nan", "{key}: !!null x", 
            "{key}: !!timestamp "
            "2020-01-01", "{key}: \"\\ud800\"",
    "{key}: \"\\0\"", "{key}: [2024-01-01, 2]", "{key}: {{2024-01-01: a}}", "{key}: {{~: a}}",
    "{key}: {{1.5: [1]}}",
    "extends: PAD\n{key}: 1", "nproc: two", "nproc: 3", "world_size: 2", "local_rank: 0",
    "ip: 10.0.0.1", "port: 99999",
    "config_files: x.yaml", "run_dir: 2024-01-01", "threshold: {{rating: 3}}",
    "val_interval: {{rating: '>=3'}}",
    "load_col: {{inter: }}", "load_col: {{inter: [user_id, item_id, "
                             "timestamp], item: }}", "metrics: [1]", "topk: [a]",
]  # fmt: skip


def inputs(seed: int, count: int) -> Iterator[Attack]:
    """`count` attacks, the same for the same seed; every kind comes in turn.

    Args:
        seed: of everything that is drawn.
        count: how many.

    Yields:
        Attacks whose `name` says the kind and the number.
    """
    kinds = list(KINDS.items())
    for number in range(count):
        name, kind = kinds[number % len(kinds)]
        draw = random.Random(f"{seed}-{number}")
        arguments, files = kind(draw)
        yield Attack(f"settings, {name} {number}", arguments, files, may_change=("out/*",))


Drawn = tuple[list[str], dict[str, bytes]]


def _train(draw: random.Random, *more: str) -> list[str]:
    """A short run of some model; what `more` sets takes the place of its own value."""
    model = draw.choice(list(MODELS))
    keys = {argument.partition("=")[0] for argument in more}
    base = [f"--model={model}", *SHOP, *MODELS[model], "--run_dir=out"]
    return [argument for argument in base if argument.partition("=")[0] not in keys] + list(more)


def _one_value(draw: random.Random) -> Drawn:
    return _train(draw, f"--{draw.choice(KEYS)}={draw.choice(VALUES)}"), {}


def _two_values(draw: random.Random) -> Drawn:
    keys = draw.sample(KEYS, 2)
    return _train(draw, *(f"--{key}={draw.choice(VALUES)}" for key in keys)), {}


def _yaml(draw: random.Random) -> Drawn:
    key = draw.choice([key for key in KEYS if key not in ("model", "dataset", "data_path")])
    text = draw.choice(NASTY_YAML).format(key=key)
    model = [argument for argument in TRAIN if not argument.startswith(f"--{key}=")]
    return [*model, "--run_dir=out", "--config_files=bad.yaml"], {
        "bad.yaml": text.encode("utf-8", "surrogatepass")
    }


def _grown_yaml(draw: random.Random) -> Drawn:
    """YAML that is deep, long, or grows by its aliases; JSON is YAML too."""
    depth = draw.choice([30, 60, 1000, 20_000])
    open_, close = draw.choice([("[", "]"), ('{"a":', "}"), ("- ", ""), ("? ", "")])
    bombs = "a0: &a0 [x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
    )
    text = draw.choice([
        f"topk: {open_ * depth}1{close * depth}", open_ * depth + "1" + close * depth, bombs,
        "topk: [" + "1," * 200_000 + "1]",
        "k" * 100_000, ": ".join("a" for _ in range(500)),
        "\n".join(f"{' ' * i}a:" for i in range(500)),
        "a: &a\n" + "".join(f"  b{i}: &b{i}\n    c: "
                            f"*{'a' if not i else f'b{i - 1}'}\n" for i in range(100)),
    ])  # fmt: skip
    return [*TRAIN, "--run_dir=out", "--config_files=bad.yaml"], {"bad.yaml": text.encode()}


def _bytes(draw: random.Random) -> Drawn:
    """A config file that is no text, or text of another encoding."""
    text = "epochs: 1\nitem_text: '{title} é'\n"
    content = draw.choice([
        draw.randbytes(200), text.encode("utf-16"), text.encode("latin-1"),
        b"\xef\xbb\xbf" + text.encode(), b"\x00" * 100,
        text.encode()[:-3], b"epochs: 1\x00", b"\xff", text.encode().replace(b"\n", b"\r"),
    ])  # fmt: skip
    return [*TRAIN, "--run_dir=out", "--config_files=bad.yaml"], {"bad.yaml": content}


def _command_line(draw: random.Random) -> Drawn:
    """Words that are no settings, in wrong places and forms."""
    odd = [
        "--", "-", "---epochs=1", "--=1", "--epochs", "--epochs 1", "-epochs=1", "epochs=1",
        "--epochs=1=2", "--Epochs=1", "--épochs=1",
        "--epochs\x0b=1", "--config_files=", "--config_files=.", "--config_files=nowhere.yaml",
        "--config_files=/dev/zero",
        "--config_files=data/shop/shop.inter", "--model=", "--model=.", "--model=../x",
        "--model=a b", "--model=\udcff", "--dataset=",
        "--dataset=.", "--dataset=..", "--dataset=/", "--dataset=shop/", "--dataset=../data/shop",
        "--dataset=a\nb", "--help=1",
        "--list_models=1", "--" + "k" * 5000 + "=1", "--epochs=" + "1" * 100,
        "--run_dir=" + "d/" * 500, "",
    ]  # fmt: skip
    arguments = _train(draw)
    for _ in range(draw.randint(1, 2)):
        arguments.insert(draw.randint(0, len(arguments)), draw.choice(odd))
    return arguments, {}


def _launch(draw: random.Random) -> Drawn:
    """Counts of processes, addresses and ports; nothing that would start more than a process."""
    option = draw.choice([
        "--nproc=two", "--nproc=0", "--nproc=-1", "--nproc=1000000", "--nproc=1.5", "--nproc=",
        "--nproc=" + "9" * 50,
        "--nproc=2 --ip=256.1.1.1", "--nproc=2 "
                                    "--ip=no.such.host.invalid", "--nproc=2 --ip=",
                                    "--nproc=2 --ip=\udcff",
        "--nproc=2 --port=0", "--nproc=2 --port=99999", "--nproc=2 --port=a",
        "--nproc=2 --world_size=1", "--nproc=2 --port=1",
        "--nproc=2 --world_size=3 --group_offset=2", "--world_size=4", "--group_offset=1",
        "--ip=localhost", "--port=5678",
        "--nproc=1 --world_size=0 --port=70000", "--nproc=2 "
                                                 "--world_size=9999999", "--worker=1000",
                                                 "--worker=-1", "--worker=a",
        "--threads=1000000", "--threads=0", "--nproc=2 --world_size=2 --group_offset=2",
    ]).split(" ")  # fmt: skip
    return _train(draw, *option), {}


def _verbs(draw: random.Random) -> Drawn:
    """Options of other commands with values that they do not take."""
    value = draw.choice(VALUES)
    command = draw.choice([
        ["evaluate", "--run_dir=run", f"--{draw.choice(KEYS)}={value}"],
        ["evaluate", "--run_dir=run",
            f"--{draw.choice(['split', 'items', 'cold', 'topk', 'metrics'])}={value}",
            "--output=out/e.json"],
        ["recommend", "--run_dir=run", f"--users={draw.choice(['u1', value])}",
            f"--{draw.choice(['topk', 'seen', 'only_new', 'items'])}={value}"],
        ["audit", *SHOP[:3],
            f"--{draw.choice(['shuffles', 'most_events', 'text', 'plots'])}={value}",
            "--output=out/audit"],
        ["doctor", *SHOP[:2], f"--{draw.choice(KEYS)}={value}"],
        ["compare", "run", "good",
            f"--{draw.choice(['metric', 'split', 'confidence', 'resamples', 'seed'])}={value}"],
        ["inspect", draw.choice(["gains", "gates", value]), "run", "good",
            f"--{draw.choice(['metric', 'split', 'confidence'])}={value}"],
    ])  # fmt: skip
    return command, {}


def _plan(draw: random.Random) -> Drawn:
    """Plans of benchmark; --dry_run runs nothing."""
    value = draw.choice(VALUES)
    lines = {
        "datasets": "[shop]", "seeds": "[1]", "models": "{SASRec-CE: ~, Pop: "
                                                        "{baseline: true}}", "against": "Pop",
        "settings": "{epochs: 1, load_col: {inter: [user_id, item_id, timestamp]}}",
    }  # fmt: skip
    lines[
        draw.choice([*lines, "metrics", "slices", "title", "confidence", "published", "other"])
    ] = value
    text = "\n".join(f"{key}: {part}" for key, part in lines.items())
    if draw.random() < 0.3:
        text = draw.choice(NASTY_YAML).format(key=draw.choice([*lines]))
    content = {"plan.yaml": text.encode("utf-8", "surrogatepass")}
    return [
        "benchmark",
        "--plan=plan.yaml",
        "--data_path=data",
        "--dry_run=True",
        "--runs=out/runs",
    ], content


def _space(draw: random.Random) -> Drawn:
    """Spaces of tune."""
    key, value = (
        draw.choice(["learning_rate", "n_layers", "epochs", "metrics", "nothing", "seed"]),
        draw.choice(VALUES),
    )
    kind = draw.choice(["choice", "uniform", "loguniform", "quniform", "uniformint", "nokind", ""])
    text = draw.choice(
        [
            f"{key} {kind} {value}",
            f"{key} {kind} [{value}]",
            f"{key} {kind} 0,{value}",
            f"{key}",
            value,
            "[" * 5000,
        ]
    )
    files = {"x.hyper": text.encode("utf-8", "surrogatepass")}
    return [
        "tune",
        *TRAIN,
        "--params_file=x.hyper",
        "--trials=1",
        "--sampler=random",
        "--storage=out/study.db",
    ], files


KINDS: dict[str, Callable[[random.Random], Drawn]] = {
    "one value": _one_value,
    "two values": _two_values,
    "YAML": _yaml,
    "deep YAML": _grown_yaml,
    "bytes": _bytes,
    "command line": _command_line,
    "launch": _launch,
    "one more value": _one_value,
    "other commands": _verbs,
    "plan": _plan,
    "space": _space,
}
