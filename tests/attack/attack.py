"""What an attack is: a command line, and the files that it meets in a working directory of
its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

#: New bytes of a file; None: the file is removed; a function: of the bytes that are there, to those
#: that are to be.
Content = bytes | None | Callable[[bytes], bytes]


@dataclass(frozen=True)
class Attack:
    """One command over bad input.

    In the working directory lies a good data set (`data/shop/`); for `runs_inputs` also a good run
    of it (`run/`), another one (`good/`), a run that was killed while it trained (`part/`), and a
    checkpoint as RecBole writes it (`model.pth`). See `workplace.py`.

    Attributes:
        name: what is bad, in a few words.
        arguments: of the command `recbole-precise`, which runs in the working directory; `{folder}`
            is its full path.
        files: path in the working directory -> its content; one that ends in `/` is an empty
            folder.
        may_change: patterns (of fnmatch) of paths that the command may change; what is new there is
            always allowed.
    """

    name: str
    arguments: list[str]
    files: dict[str, Content] = field(default_factory=dict)
    may_change: tuple[str, ...] = ()

    def setup(self, folder: Path) -> None:
        """Write, change and remove files in an existing folder."""
        for name, content in self.files.items():
            path = folder / name
            if callable(content):
                content = content(path.read_bytes() if path.is_file() else b"")
            for parent in reversed(path.relative_to(folder).parents):
                if (folder / parent).is_file():  # a folder in the place of a file
                    (folder / parent).unlink()
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()
            if content is None:
                continue
            if name.endswith("/"):
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def command(self, folder: Path) -> list[str]:
        """Return the arguments, with the folder in its place."""
        return [argument.replace("{folder}", str(folder)) for argument in self.arguments]


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
