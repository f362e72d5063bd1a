"""What an attack is: a command line, and the files that it meets in a working directory of its own."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Attack:
    """One command over bad input.

    Attributes:
        name: what is bad, in a few words.
        arguments: of the command `recbole-precise`, which runs in the working directory.
        files: path in the working directory -> its content.
    """

    name: str
    arguments: list[str]
    files: dict[str, bytes] = field(default_factory=dict)
