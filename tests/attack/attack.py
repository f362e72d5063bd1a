"""What an attack is: a command line, and the files that it meets in a working directory of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

#: New bytes of a file; None: the file is removed; a function: of the bytes that are there, to those that are to be.
Content = bytes | None | Callable[[bytes], bytes]


@dataclass(frozen=True)
class Attack:
    """One command over bad input.

    In the working directory lies a good data set (`data/shop/`); for `runs_inputs` also a good run of it (`run/`), another
    one (`good/`), a run that was killed while it trained (`part/`), and a checkpoint as RecBole writes it (`model.pth`).
    See `workplace.py`.

    Attributes:
        name: what is bad, in a few words.
        arguments: of the command `recbole-precise`, which runs in the working directory; `{folder}` is its full path.
        files: path in the working directory -> its content; one that ends in `/` is an empty folder.
        may_change: patterns (of fnmatch) of paths that the command may change; what is new there is always allowed.
    """

    name: str
    arguments: list[str]
    files: dict[str, Content] = field(default_factory=dict)
    may_change: tuple[str, ...] = ()


#: Settings of a run of `shop` that takes about a second.
SHOP = [
    "--dataset=shop",
    "--data_path=data",
    "--load_col={inter: [user_id, item_id, timestamp]}",
    "--MAX_ITEM_LIST_LENGTH=6",
    "--epochs=2",
    "--train_batch_size=8",
    "--use_gpu=False",
    "--show_progress=False",
    "--tensorboard=False",
    "--threads=1",
]
#: A command that trains a small model of ours on `shop`.
TRAIN = ["--model=SASRec-CE", *SHOP, "--embedding_size=8", "--n_layers=1"]
