"""One bad input: a command and the files that it is run on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Attack:
    """A command that must end with a result or with one sentence.

    Attributes:
        name: the kind of the input and its number.
        arguments: of the command; `{folder}` stands for the folder of the files.
        files: path below the folder -> content; a path that ends with `/` is an empty folder.
    """

    name: str
    arguments: list[str]
    files: dict[str, bytes] = field(default_factory=dict)

    def setup(self, folder: Path) -> None:
        """Write the files into an existing folder."""
        for path, content in self.files.items():
            place = folder / path
            if path.endswith("/"):
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    def command(self, folder: Path) -> list[str]:
        """The arguments, with the folder in its place."""
        return [argument.replace("{folder}", str(folder)) for argument in self.arguments]
