"""Reads the commands and code of Markdown documents: fenced blocks, indented lines, inline code."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

#: Words that begin a command, where no language of a block says that it holds commands.
PROGRAMS = ("recbole-precise", "python", "python3", "make", "pip", "bash", "torchrun", "docker")
SHELLS = ("bash", "sh", "shell", "console", "zsh")
_FENCE = re.compile(r"^\s*(`{3,}|~{3,})\s*([\w+-]*)")
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_ASSIGNMENT = re.compile(r"^\w+=")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_LOOP = re.compile(r"^for (\w+) in (\S+)[^;]*$")
_FILE_NAME = re.compile(r"^#\s*([\w./-]+\.(?:py|yaml|yml|hyper|jsonl|csv|tsv))\s*$")


@dataclass(frozen=True)
class Block:
    """A block of a document: its language, as the fence names it, its text and its first line."""

    language: str
    text: str
    line: int

    @property
    def file_name(self) -> str | None:
        """Return the name of the file that the block shows, which its first line says: `# a.py`."""
        lines = self.text.splitlines()
        named = _FILE_NAME.match(lines[0]) if lines else None
        return named[1] if named else None


@dataclass(frozen=True)
class Command:
    """A command of a document: its text, and its words once the shell has read them.

    `words` is None where a shell would not accept the text. `patterns` are the words that a shell
    expands to the files that match them.
    """

    document: str
    line: int
    text: str
    words: tuple[str, ...] | None
    environment: dict[str, str] = field(default_factory=dict, compare=False)
    patterns: tuple[str, ...] = ()


def read_blocks(path: Path) -> list[Block]:
    """Return the fenced blocks of a document."""
    blocks: list[Block] = []
    kept: list[str] = []
    opened: tuple[str, str, int] | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.match(line)
        if opened is None:
            if fence:
                opened = (fence[1], fence[2].lower(), number + 1)
                kept = []
        elif fence and fence[1].startswith(opened[0]) and not fence[2]:
            blocks.append(Block(opened[1], _dedented(kept), opened[2]))
            opened = None
        else:
            kept.append(line)
    return blocks


def read_commands(path: Path, name: str) -> list[Command]:
    """Return all commands of a document in its order; `name` is what they are listed under."""
    found: list[Command] = []
    for block in read_blocks(path):
        if _holds_commands(block):
            found += _commands_of(block, name)
    for line, paragraph in _paragraphs(path):
        found += _commands_of_paragraph(paragraph, line, name)
    return sorted(found, key=lambda command: command.line)


def _dedented(lines: list[str]) -> str:
    indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    common = min(indents, default=0)
    return "\n".join(line[common:] for line in lines)


def _is_command(text: str) -> bool:
    words = text.split()
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    return len(words) > 1 and words[0] in PROGRAMS


def _holds_commands(block: Block) -> bool:
    if block.language in SHELLS:
        return True
    if block.language:
        return False
    lines = [line for line in block.text.splitlines() if line.strip() and line[0] != "#"]
    return bool(lines) and _is_command(lines[0].removeprefix("$ "))


def _commands_of(block: Block, document: str) -> list[Command]:
    """Return the commands of a block; variables that it sets are filled in."""
    lines = block.text.splitlines()
    prompted = any(line.startswith("$ ") for line in lines)
    variables: dict[str, str] = {}
    found: list[Command] = []
    number = 0
    while number < len(lines):
        first = number
        text = lines[number]
        while text.endswith("\\") and number + 1 < len(lines):
            number += 1
            text = text[:-1] + lines[number].lstrip()
        number += 1
        heredoc = _HEREDOC.search(text)
        if heredoc:
            # The lines up to the mark are a file, not commands.
            while number < len(lines) and lines[number].strip() != heredoc[2]:
                number += 1
            number += 1
            continue
        if prompted and not text.startswith("$ "):
            continue  # the output of a command
        found += _split(text.removeprefix("$ "), document, block.line + first, variables)
    return found


def _split(text: str, document: str, line: int, variables: dict[str, str]) -> list[Command]:
    """Split a line into commands; an assignment goes into `variables` instead."""
    filled = _VARIABLE.sub(lambda m: variables.get(m[1] or m[2], m[0]), text)
    reader = shlex.shlex(filled, posix=True, punctuation_chars="&|;<>")
    reader.whitespace_split = True
    try:
        words = list(reader)
    except ValueError:
        return [Command(document, line, text.strip(), None)]
    patterns = tuple(word for word in words if "*" in word and f" {word}" in filled)
    found: list[Command] = []
    current: list[str] = []
    for word in [*words, ";"]:
        if not set(word) <= set("&|;") or not word:
            current.append(word)
            continue
        if current:
            found += _command(current, document, line, variables, patterns)
        current = []
    return found


def _command(
    words: list[str],
    document: str,
    line: int,
    variables: dict[str, str],
    patterns: tuple[str, ...],
) -> list[Command]:
    if words[0] in ("export", "do"):
        words = words[1:]
    loop = _LOOP.match(" ".join(words))
    if loop:
        variables[loop[1]] = loop[2]
        return []
    if not words or words == ["done"]:
        return []
    environment: dict[str, str] = {}
    while words and _ASSIGNMENT.match(words[0]):
        name, _, value = words[0].partition("=")
        environment[name] = value
        words = words[1:]
    if not words:
        variables.update(environment)
        return []
    return [Command(document, line, shlex.join(words), tuple(words), environment, patterns)]


def _paragraphs(path: Path) -> list[tuple[int, list[str]]]:
    """Return runs of lines outside fences, each with the number of its first line."""
    found: list[tuple[int, list[str]]] = []
    fenced: str | None = None
    current: list[str] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate([*lines, ""], start=1):
        fence = _FENCE.match(line)
        was_fenced = fenced is not None
        if fence and fenced is None:
            fenced = fence[1]
        elif fence and fenced and fence[1].startswith(fenced):
            fenced = None
        if fence or was_fenced or not line.strip():
            if current:
                found.append((number - len(current), current))
            current = []
        else:
            current.append(line)
    return found


def _commands_of_paragraph(lines: list[str], first: int, document: str) -> list[Command]:
    """Return the commands of an indented block, or else those in inline code."""
    if all(line.startswith(("    ", "\t")) for line in lines):
        block = Block("", _dedented(lines), first)
        return _commands_of(block, document) if _holds_commands(block) else []
    if all(line.lstrip().startswith("|") for line in lines):
        text = "\n".join(line.replace("\\|", "|") for line in lines)
    else:
        text = "\n".join(lines)
    found: list[Command] = []
    for span in _INLINE.finditer(text):
        code = " ".join(span[1].split())
        if _is_command(code):
            line = first + text.count("\n", 0, span.start())
            found += _split(code, document, line, {})
    return found
