"""Broken and odd files of data sets, from a seed: each is either used, or refused in one
sentence.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from attack import Attack

TYPES = {
    "user_id": "token",
    "item_id": "token",
    "rating": "float",
    "timestamp": "float",
    "title": "token_seq",
    "price": "float",
    "age": "float",
}
WEIRD = (
    "",
    " ",
    "NA",
    "null",
    "nan",
    "None",
    "-",
    "0",
    "[PAD]",
    "é",
    "日本",
    "\u200b",
    "a b",
    "x" * 3000,
    "1e400",
    "'",
    "\\",
    "true",
    "%s",
    "{title}",
    "\u202e",
)
NO_NUMBERS = (
    "",
    "x",
    "inf",
    "-inf",
    "nan",
    "1e400",
    "1_000",
    "١٢",
    "0x10",
    "1,5",
    "2024-01-01",
    "--1",
    "1e",
    "∞",
)


@dataclass
class Files:
    """A data set in the making: tables as lists of cells, and how they are written.

    Attributes:
        tables: suffix -> (names of the columns, rows). types: column -> type in the header.
        write: suffix -> what is done to the bytes of the finished file.
    """

    draw: random.Random
    tables: dict[str, tuple[list[str], list[list[str]]]]
    types: dict[str, str] = field(default_factory=lambda: dict(TYPES))
    separator: str = "\t"
    end: str = "\n"
    encoding: str = "utf-8"
    write: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    header: dict[str, str] = field(default_factory=dict)
    more: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    @property
    def events(self) -> list[list[str]]:
        return self.tables["inter"][1]

    def cell(self, suffix: str | None = None) -> tuple[list[str], int]:
        """A random row of a table and a random place in it."""
        columns, rows = self.tables[suffix or self.draw.choice(list(self.tables))]
        row = self.draw.choice(rows)
        return row, self.draw.randrange(min(len(columns), len(row)))

    def some(self, rows: list[list[str]]) -> list[list[str]]:
        """One to all of some rows."""
        return (
            self.draw.sample(rows, self.draw.choice([1, 2, 3, max(1, len(rows) // 2), len(rows)]))
            if rows
            else []
        )

    def content(self, suffix: str) -> bytes:
        """The bytes of a file."""
        columns, rows = self.tables[suffix]
        head = self.header.get(
            suffix, self.separator.join(f"{name}:{self.types[name]}" for name in columns)
        )
        text = self.end.join([head, *(self.separator.join(row) for row in rows)]) + self.end
        data = text.encode(self.encoding, "replace")
        return self.write.get(suffix, bytes)(data)


def shop(draw: random.Random) -> Files:
    """A small data set that is in order."""
    users, items = draw.randint(6, 12), draw.randint(8, 14)
    rows = [
        [
            f"u{user}",
            f"i{(user * 3 + step * draw.choice([1, 1, 2])) % items}",
            str(draw.randint(1, 5)),
            str(1_600_000_000 + 1000 * step + user),
        ]
        for user in range(users)
        for step in range(draw.randint(5, 8))
    ]
    described = [
        [f"i{n}", f"thing {n} {draw.choice(['red', 'old', 'new'])}", str(n + 0.5)]
        for n in range(items)
    ]
    people = [[f"u{n}", str(20 + n)] for n in range(users)]
    tables = {
        "inter": (["user_id", "item_id", "rating", "timestamp"], rows), "item": (["item_id",
            "title", "price"], described), "user": (["user_id", "age"], people),
    }  # fmt: skip
    return Files(draw, tables)


# --- Kinds ------------------------------------------------------------------------------------


def weird_cell(files: Files) -> None:
    for _ in range(files.draw.choice([1, 3, 20])):
        row, place = files.cell()
        row[place] = files.draw.choice(WEIRD)


def no_number(files: Files) -> None:
    for row in files.some(files.events):
        row[files.draw.choice([2, 3])] = files.draw.choice(NO_NUMBERS)


def fewer_fields(files: Files) -> None:
    rows = files.tables[files.draw.choice(["inter", "item", "user"])][1]
    for row in files.some(rows):
        del row[files.draw.randrange(len(row))]


def more_fields(files: Files) -> None:
    rows = files.tables[files.draw.choice(["inter", "item", "user"])][1]
    for row in files.some(rows):
        row.insert(files.draw.randrange(len(row) + 1), files.draw.choice(WEIRD))


def another_type(files: Files) -> None:
    name = files.draw.choice(list(files.types))
    files.types[name] = files.draw.choice(
        ["token", "token_seq", "float", "float_seq", "int", "str", "", "TOKEN", "float:float"]
    )


def renamed_column(files: Files) -> None:
    columns = files.tables[files.draw.choice(["inter", "item", "user"])][0]
    old, new = (
        files.draw.randrange(len(columns)),
        files.draw.choice(
            [
                "user",
                "item_id",
                "user_id",
                "timestamp",
                "a b",
                "",
                "item_length",
                "label",
                "item_id_list",
            ]
        ),
    )
    files.types.setdefault(new, files.types[columns[old]])
    columns[old] = new


def broken_header(files: Files) -> None:
    suffix = files.draw.choice(["inter", "item", "user"])
    files.header[suffix] = files.draw.choice(
        [
            "",
            " ",
            "\t\t\t",
            "user_id",
            "user_id item_id rating timestamp",
            "a:token",
            ":token\t:token\t:float\t:float",
            "u0\ti0\t1\t1",
            "\ufeff",
            '"user_id:token"\titem_id:token\trating:float\ttimestamp:float',
        ]
    )


def no_header(files: Files) -> None:
    suffix = files.draw.choice(["inter", "item"])
    files.write[suffix] = lambda data: data.split(b"\n", 1)[1]


def truncated(files: Files) -> None:
    suffix, share = files.draw.choice(["inter", "item", "user"]), files.draw.random()
    files.write[suffix] = lambda data: data[: int(len(data) * share)]


def random_bytes(files: Files) -> None:
    suffix, seed = files.draw.choice(["inter", "item", "user"]), files.draw.random()

    def change(data: bytes) -> bytes:
        draw, data = random.Random(seed), bytearray(data)
        for _ in range(draw.choice([1, 5, 50])):
            data[draw.randrange(len(data))] = draw.randrange(256)
        return bytes(data)

    files.write[suffix] = change


def not_text(files: Files) -> None:
    suffix, size = (
        files.draw.choice(["inter", "item", "user"]),
        files.draw.choice([0, 1, 100, 5000]),
    )
    seed = files.draw.random()
    files.write[suffix] = lambda data: random.Random(seed).randbytes(size)


def nul_bytes(files: Files) -> None:
    suffix = files.draw.choice(["inter", "item", "user"])
    files.write[suffix] = files.draw.choice(
        [
            lambda data: data + b"\0" * 5,
            lambda data: data.replace(b"1", b"\0", 1),
            lambda data: b"\0" * len(data),
        ]
    )


def another_encoding(files: Files) -> None:
    files.encoding = files.draw.choice(
        ["latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252", "utf-8-sig", "shift_jis"]
    )
    files.events[0][1] = files.tables["item"][1][0][0] = "café"
    if files.draw.random() < 0.3:
        files.more.append(
            f"--encoding={files.draw.choice(['latin-1', 'utf-16', 'utf-99', 'ascii', ''])}"
        )


def line_ends(files: Files) -> None:
    files.end = files.draw.choice(["\r\n", "\r", "\n\n", "\n \n", "\u2028", "\x0b", "\x85"])


def another_separator(files: Files) -> None:
    files.separator = files.draw.choice([",", ";", "|", " ", "\t\t"])
    if files.draw.random() < 0.5:
        files.more.append(
            f"--field_separator={files.draw.choice([files.separator, ',', '', '||'])}"
        )


def quotes(files: Files) -> None:
    for _ in range(files.draw.choice([1, 2, 5])):
        row, place = files.cell()
        row[place] = files.draw.choice(
            ['"{}', '{}"', '"{}"', '"', '""', 'a"b', '"{}\n"', "'{}'"]
        ).replace("{}", row[place])


def line_break_in_cell(files: Files) -> None:
    row, place = files.cell()
    row[place] += files.draw.choice(["\n", "\r", "\t", "\n\n", "\x0c"]) + "x"


def missing_ids(files: Files) -> None:
    for row in files.some(files.events):
        row[files.draw.randrange(2)] = files.draw.choice(["", "NA", "NaN", "null"])


def repeated_rows(files: Files) -> None:
    rows = files.tables[files.draw.choice(["inter", "item", "user"])][1]
    rows += [list(row) for row in files.some(rows)]
    if files.draw.random() < 0.3:
        files.more.append(f"--rm_dup_inter={files.draw.choice(['first', 'last', 'all'])}")


def missing_rows(files: Files) -> None:
    rows = files.tables[files.draw.choice(["item", "user"])][1]
    rows[:] = files.draw.sample(rows, files.draw.randrange(len(rows)))


def other_catalogue(files: Files) -> None:
    for row in files.tables["item"][1]:
        row[0] = "x" + row[0]


def missing_file(files: Files) -> None:
    del files.tables[files.draw.choice(["inter", "item", "user"])]


def empty_table(files: Files) -> None:
    files.tables[files.draw.choice(["inter", "item", "user"])][1].clear()


def few_events(files: Files) -> None:
    kept = files.draw.choice([0, 1, 2, 3, 5])
    files.tables["inter"][1][:] = files.events[:kept]


def short_users(files: Files) -> None:
    longest = files.draw.choice([1, 2, 3])
    seen: dict[str, int] = {}
    kept = []
    for row in files.events:
        seen[row[0]] = seen.get(row[0], 0) + 1
        if seen[row[0]] <= longest:
            kept.append(row)
    files.events[:] = kept


def one_of_all(files: Files) -> None:
    place, value = files.draw.choice([(0, "u0"), (1, "i0"), (3, "7"), (2, "3")])
    for row in files.events:
        row[place] = value


def extreme_times(files: Files) -> None:
    for row in files.some(files.events):
        row[3] = files.draw.choice(
            [
                "0",
                "-5",
                "1e18",
                "-1e300",
                "9223372036854775807",
                "9223372036854775808",
                "1.5",
                "1e-300",
                "253402300800000",
                "00012",
                "+5",
            ]
        )
    if files.draw.random() < 0.3:
        files.more.append(
            f"--eval_args={{split: {{DAYS: [{files.draw.randrange(3)}, "
            f"{files.draw.randrange(4)}]}}}}"
        )


def long_row(files: Files) -> None:
    files.events.extend(
        ["u0", f"i{n % 9}", "1", str(n)] for n in range(files.draw.choice([300, 3000]))
    )


def long_text(files: Files) -> None:
    files.tables["item"][1][0][1] = "word " * files.draw.choice([1000, 40_000])


def filters(files: Files) -> None:
    interval = files.draw.choice(
        ["[3,inf)", "[100,inf)", "(2,4]", "[5,1]", "[6", "", "[a,b]", "[-inf,inf]", "[0,3);[5,9]"]
    )
    key = files.draw.choice(
        [
            "--user_inter_num_interval=",
            "--item_inter_num_interval=",
            "--val_interval={rating: '@'}",
            "--val_interval={item_id: [i1, i2]}",
            "--val_interval={price: '@'}",
        ]
    )
    files.more.append(
        key.replace("@", interval) if "@" in key else key + interval if key.endswith("=") else key
    )


def beforehand(files: Files) -> None:
    names = files.draw.choice(
        [
            ["train", "valid", "test"],
            ["train", "test"],
            ["train"],
            ["train", "nowhere"],
            ["test", "train"],
            ["train", "train"],
            ["a", "b", "c", "d"],
        ]
    )
    columns, rows = files.tables.pop("inter")
    for number, name in enumerate(("train", "valid", "test")):
        files.tables[f"{name}.inter"] = (
            list(columns),
            [
                row
                for place, row in enumerate(rows)
                if place % 3 == number or files.draw.random() < 0.2
            ],
        )
    if files.draw.random() < 0.3:
        weird = files.draw.choice(list(files.tables))
        files.tables[weird][1][:] = files.some(files.tables[weird][1])
    files.more.append(f"--benchmark_filename=[{', '.join(names)}]")


def rows_given(files: Files) -> None:
    _columns, rows = files.tables.pop("inter")
    files.types["item_id_list"] = files.draw.choice(["token_seq"] * 6 + ["token", "float_seq"])
    before: dict[str, list[str]] = {}
    given = []
    for user, item, *_ in rows:
        history = before.setdefault(user, [])
        if history or files.draw.random() < 0.05:
            given.append([user, files.draw.choice([" "] * 9 + [",", "  "]).join(history), item])
        history.append(item)
    for number, name in enumerate(("train", "valid", "test")):
        files.tables[f"{name}.inter"] = (
            ["user_id", "item_id_list", "item_id"],
            [row for place, row in enumerate(given) if place % 3 == number],
        )
    files.more += [
        "--benchmark_filename=[train, valid, test]",
        "--load_col={inter: [user_id, item_id_list, item_id]}",
    ]


def modes(files: Files) -> None:
    mode = files.draw.choice(
        ["labeled", "uni5", "pop5", "uni200", "full", "{valid: labeled, test: full}"]
    )
    files.more += [
        f"--eval_args={{mode: {mode}}}",
        *files.draw.choice(
            [
                [],
                ["--threshold={rating: 3}"],
                ["--metrics=[AUC]", "--valid_metric=AUC"],
                ["--threshold={rating: 3}", "--metrics=[AUC]", "--valid_metric=AUC"],
            ]
        ),
    ]


def columns_loaded(files: Files) -> None:
    files.more.append(
        "--load_col="
        + files.draw.choice(
            [
                "{inter: [user_id, item_id]}",
                "{inter: [user_id, item_id, timestamp], item: [title]}",
                "{inter: '*', item: '*', user: '*'}",
                "{inter: [user_id, item_id, timestamp], item: [item_id], user: [user_id]}",
                "{item: [item_id]}",
                "{inter: [user_id, user_id, item_id, timestamp]}",
                "{inter: [user_id, item_id, timestamp], kg: [x]}",
                "{}",
            ]
        )
    )


def normalised(files: Files) -> None:
    files.more.append(
        files.draw.choice(
            [
                "--normalize_all=True",
                "--normalize_field=[rating]",
                "--normalize_field=[title]",
                "--normalize_field=[nothing]",
            ]
        )
    )
    for row in files.some(files.events):
        row[2] = "3"


def scenes(files: Files) -> None:
    files.more += files.draw.choice([
        ["--scene_rules={like: 'rating >= 4'}", "--target_scene=like"], [
                "--scene_rules={like: "
                "'rating >= 400'}", "--target_scene=like"], ["--scene_field=rating",
                "--target_scene=5"],
        ["--scene_rules={like: 'rating >='}", "--target_scene=like"], ["--scene_field=item_id",
            "--target_scene=i1"], [
                "--scene_rules={like: "
                "'rating >= 4'}", "--target_scene=lik"],
    ])  # fmt: skip


def odd_name(files: Files) -> None:
    files.names["dataset"] = files.draw.choice(
        ["a.b", "a b", "1", "-x", "é", "true", "a=b", "x" * 200]
    )


KINDS: dict[str, Callable[[Files], None]] = {
    kind.__name__: kind
    for kind in (
        weird_cell, no_number, fewer_fields, more_fields, another_type, renamed_column,
        broken_header, no_header, truncated, random_bytes, not_text, nul_bytes,
        another_encoding, line_ends, another_separator, quotes, line_break_in_cell, missing_ids,
        repeated_rows, missing_rows, other_catalogue, missing_file,
        empty_table, few_events, short_users, one_of_all, extreme_times, long_row, long_text,
        filters, beforehand, rows_given, modes, columns_loaded, normalised,
        scenes, odd_name,
    )
}  # fmt: skip
#: Models by how their data are read: ours and RecBole's of sequences, and RecBole's others.
MODELS = ("SASRec-CE", "SASRec-CE", "SASRec-CE", "SASRec", "Pop", "BPR")
COLUMNS = (
    "{inter: [user_id, item_id, timestamp]}",
    "{inter: [user_id, item_id, rating, timestamp]}",
    "{inter: [user_id, item_id, timestamp], item: [item_id]}",
    "{inter: [user_id, item_id, rating, timestamp], item: [item_id, title, price], user: "
    "[user_id, age]}",
)


def inputs(seed: int, count: int) -> Iterator[Attack]:
    """`count` bad data sets, the same for the same seed.

    The kinds take turns, and some meet in one data set.
    """
    kinds = list(KINDS)
    random.Random(seed).shuffle(kinds)
    for number in range(count):
        draw = random.Random(f"{seed}/{number}")
        files = shop(draw)
        chosen = [kinds[number % len(kinds)]]
        if draw.random() < 0.25:
            chosen.append(draw.choice(kinds))
        for kind in chosen:
            _apply(KINDS[kind], files)
        yield _attack(f"{number}: {' and '.join(chosen)}", files)


def _apply(kind: Callable[[Files], None], files: Files) -> None:
    """A kind may not fit what another has left of the data set; then it does nothing."""
    try:
        kind(files)
    except (KeyError, IndexError, ValueError):
        return


def _attack(name: str, files: Files) -> Attack:
    draw, dataset = files.draw, files.names.get("dataset", "shop")
    model = draw.choice(MODELS)
    arguments = [f"--model={model}", f"--dataset={dataset}", "--data_path=data", "--epochs=1",
        "--MAX_ITEM_LIST_LENGTH=5", "--train_batch_size=64",
                 "--show_progress=False", "--tensorboard=False", "--threads=1", "--use_gpu=False",
                 "--run_dir=run"]  # fmt: skip
    if not any(argument.startswith("--load_col=") for argument in files.more):
        arguments.append(f"--load_col={draw.choice(COLUMNS)}")
    content = {
        f"data/{dataset}/{dataset}.{suffix}": files.content(suffix) for suffix in files.tables
    }
    return Attack(f"{name} ({model})", [*arguments, *files.more], content)
