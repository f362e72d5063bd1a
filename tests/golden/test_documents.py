"""Commands are read from a document as a shell reads them."""

from __future__ import annotations

from pathlib import Path

from documents import read_blocks, read_commands

DOCUMENT = """# A title

Type `make test`, or `recbole-precise compare RUN_A
RUN_B`; a bare `recbole-precise` is a name, and `--seed=1` an option.

```bash
later="--model=PAD --seed=1"   # a remark
recbole-precise $later \\
    --experts="[id]" && OMP_NUM_THREADS=1 make demo
unknown program
```

```console
$ recbole-precise --version
recbole_precise 1
```

    recbole-precise inspect gates saved/PAD-*/x 'saved/B-*/x'

```
learning_rate choice 1,2
```

```yaml
# shop.yaml
a: 1
```
"""


def write(folder: Path) -> Path:
    """Write the document."""
    path = folder / "a.md"
    path.write_text(DOCUMENT, encoding="utf-8")
    return path


def test_commands_come_in_order_with_their_lines(tmp_path: Path) -> None:
    found = [(command.line, command.words) for command in read_commands(write(tmp_path), "a.md")]
    assert found == [
        (3, ("make", "test")),
        (3, ("recbole-precise", "compare", "RUN_A", "RUN_B")),
        (8, ("recbole-precise", "--model=PAD", "--seed=1", "--experts=[id]")),
        (8, ("make", "demo")),
        (10, ("unknown", "program")),
        (14, ("recbole-precise", "--version")),
        (18, ("recbole-precise", "inspect", "gates", "saved/PAD-*/x", "saved/B-*/x")),
    ]


def test_a_shell_expands_patterns_outside_quotes(tmp_path: Path) -> None:
    assert read_commands(write(tmp_path), "a.md")[-1].patterns == ("saved/PAD-*/x",)


def test_a_block_may_name_its_file(tmp_path: Path) -> None:
    names = [block.file_name for block in read_blocks(write(tmp_path))]
    assert names == [None, None, None, "shop.yaml"]
