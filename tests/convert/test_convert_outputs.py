"""Where `convert` writes: outputs that are no places, disks that cannot be written, commands that
are stopped or killed.
"""

import contextlib
import errno
import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import duckdb
import pytest
from convert_helpers import atomic, convert, write_lines

from recbole_precise.cli import main
from recbole_precise.convert import SOURCES, faults
from recbole_precise.convert.store import Store
from recbole_precise.data import workplace
from recbole_precise.errors import ConfigError, DataError

NAMES = ("--user=u", "--item=i", "--time=t")


def content(folder):
    """Every path below a folder, and the bytes of the files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table in a working folder of its own."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return write_lines(
        folder / "t.csv",
        ["u,i,t,title", *(f"u{n % 9},i{n % 6},{1000 + n},thing {n % 6}" for n in range(120))],
    )


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "--output is empty"),
        (".", "names no data set"),
        ("..", "names no data set"),
        ("/", "names no data set"),
        ("//", "names no data set"),
        ("out/..", "names no data set"),
        ("out/-shop", "begins with '-'"),
        ("out/.shop", "begins with '.'"),
        ("out/shop.", "ends with a full stop"),
        ("out/my shop", "a character that a name cannot have (space)"),
        ("out/a\tb", "control character"),
        ("out/a\nb", "control character"),
        ("out/a\u202eb", "right-to-left override"),
        ("out/a:b", "colon"),
        ("out/a*b", "asterisk"),
        ("out/a\\b", "reverse solidus"),
        ("out/con", "a device on Windows"),
        ("out/NUL.x", "a device on Windows"),
        ("out/" + "n" * 201, "longer than 200 bytes"),
        ("out/" + "é" * 101, "longer than 200 bytes"),
        ("out/" + "n" * 300, "longer than 200 bytes"),
        ("x" * 300 + "/shop", "cannot be written"),
        ("out/\udcff", "bytes that are no text"),
        ("\udcff/shop", "bytes that are no text"),
        ("out/shop.inter", "give the folder, without .inter"),
        ("out/shop.yaml", "give the folder, without .yaml"),
        ("out/ml-100k", "RecBole's own folder"),
        ("t.csv", "'t.csv' is no folder"),
        ("t.csv/shop", "'t.csv' is no folder"),
        ("/dev/null", "no folder"),
        ("/dev/full/shop", "no folder"),
        ("loop/shop", "Too many levels of symbolic links"),
        ("gone", "symbolic link that leads nowhere"),
    ],
)
def test_an_output_that_is_no_place_is_refused_before_anything_is_written(
    output, words, table, capsys
):
    folder = table.parent
    (folder / "loop").symlink_to("loop")
    (folder / "gone").symlink_to("nowhere")
    before, above, root = (
        content(folder),
        sorted(os.listdir(folder.parent)),
        sorted(os.listdir("/")),
    )
    for more in ((), ("--overwrite=True",)):
        status, out, err = convert(capsys, "csv", "t.csv", output, *NAMES, *more)
        assert (status, out) == (2, "") and words in err and err.count("\n") == 1
    with pytest.raises((ConfigError, DataError)):
        SOURCES["csv"]("t.csv", output, user="u", item="i", time="t")
    assert (content(folder), sorted(os.listdir(folder.parent)), sorted(os.listdir("/"))) == (
        before,
        above,
        root,
    )


@pytest.mark.parametrize(
    "name",
    ["shop", "a.b", "123", "null", "é", "日本", "a-b_c+d@e", "n" * 200, "x/../y", "deep/er/shop"],
)
def test_names_that_can_be_used(name, table, capsys):
    status, out, err = convert(capsys, "csv", "t.csv", f"out/{name}", *NAMES)
    assert status == 0, err
    last = name.rpartition("/")[2]
    assert (table.parent / "out" / name.replace("x/../", "") / f"{last}.inter").is_file()
    assert f"--dataset={last} " in out.replace("'", "") and not list(
        table.parent.rglob(".convert-*")
    )


def test_the_next_command_can_be_typed_where_a_folder_has_blanks(table, capsys):
    _, out, _ = convert(capsys, "csv", "t.csv", "my data/shop", *NAMES)
    assert out.endswith(
        "Run: cd 'my data' && recbole-precise --model=PRECISE-UT --dataset=shop --data_path=. "
        "--config_files=shop/shop.yaml\n"
    )


def test_a_link_to_a_folder_keeps_its_own_name(table, capsys):
    (table.parent / "large").mkdir()
    (table.parent / "shop").symlink_to("large")
    assert convert(capsys, "csv", "t.csv", "shop", *NAMES)[0] == 0
    assert sorted(os.listdir("large")) == ["shop.inter", "shop.yaml"]


@pytest.mark.parametrize("ending", ["inter", "item", "yaml", "bad_rows.tsv"])
def test_inputs_are_not_overwritten(ending, tmp_path, capsys):
    for linked in (False, True):
        folder = tmp_path / f"{ending}{linked}" / "shop"
        file = write_lines(folder / f"shop.{ending}", ["u\ti\tt", "u1\ti1\t5"])
        path = file
        if linked:
            path = tmp_path / f"{ending}.tsv"
            path.symlink_to(file)
        before = content(folder)
        status, _, err = convert(
            capsys, "csv", path, folder, *NAMES, "--separator=tab", "--overwrite"
        )
        assert (
            status == 2
            and f"shop.{ending} would replace the file" in err
            and content(folder) == before
        )


def test_movielens_may_be_converted_beside_its_files_but_not_over_them(tmp_path, capsys):
    for name, wanted in (("u", 2), ("films", 0)):
        folder = tmp_path / name
        write_lines(folder / "u.data", ["1\t1\t3\t9", "1\t2\t3\t10"])
        write_lines(folder / "u.item", ["1|a|d|v|u|0|1", "2|b|d|v|u|1|0"])
        write_lines(folder / "u.genre", ["x|0", "y|1"])
        before = content(folder)
        status, _, err = convert(capsys, "movielens", folder, folder, "--overwrite")
        after = content(folder)
        assert status == wanted, err
        assert {name: after[name] for name in before} == before and (len(after) > len(before)) == (
            wanted == 0
        )


@pytest.mark.parametrize("there", ["shop.inter", "shop.item", "shop.yaml", "shop.bad_rows.tsv"])
def test_nothing_of_a_data_set_is_replaced_unasked_and_nothing_stale_stays(there, table, capsys):
    write_lines(table.parent / "shop" / there, ["mine"])
    write_lines(table.parent / "shop" / "notes.txt", ["mine too"])
    before = content(table.parent)
    status, _, err = convert(capsys, "csv", "t.csv", "shop", *NAMES)
    assert (
        status == 2
        and there in err
        and "--overwrite=True" in err
        and content(table.parent) == before
    )
    assert convert(capsys, "csv", "t.csv", "shop", *NAMES, "--overwrite")[0] == 0
    assert sorted(os.listdir("shop")) == ["notes.txt", "shop.inter", "shop.yaml"]
    assert b"mine" not in b"".join(file.read_bytes() for file in Path("shop").glob("shop.*"))


# --- Disks --------------------------------------------------------------------------------------
# ----------------------


def break_writing(ending):
    """A disk that is full in the middle of the file with this ending."""

    def install(monkeypatch, code):
        real = Store.write

        def write(self, path, *given):
            if path.suffix != ending:
                return real(self, path, *given)
            path.write_text("user_id:token\n" * 50_000)
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(Store, "write", write)

    return install


def break_database(monkeypatch, code):
    """What DuckDB says of a disk on which it puts what does not fit into memory."""
    real = Store.rows

    def rows(self, query):
        if query.startswith("INSERT INTO events"):
            raise duckdb.IOException(f'IO Error: Could not write file "x.tmp": {os.strerror(code)}')
        return real(self, query)

    monkeypatch.setattr(Store, "rows", rows)


def break_making_the_folder(monkeypatch, code):
    def mkdir(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(workplace.Path, "mkdir", mkdir)


def break_listing(monkeypatch, code):
    def add(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(faults.Faults, "add", add)


def break_moving(at):
    def install(monkeypatch, code):
        real, calls = os.replace, []

        def replace(source, target):
            calls.append(target)
            if len(calls) == at:
                raise OSError(code, os.strerror(code))
            real(source, target)

        monkeypatch.setattr(workplace.os, "replace", replace)

    return install


FAULTS = {
    "database": break_database,
    "folder": break_making_the_folder,
    "listing": break_listing,
    "events": break_writing(".inter"),
    "items": break_writing(".item"),
    **{f"move {at}": break_moving(at) for at in range(1, 8)},
}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_disk_that_cannot_be_written_is_one_sentence_and_changes_nothing(
    fault, code, table, capsys, monkeypatch
):
    write_lines(table, [*table.read_text().splitlines(), "u1,NA,5,x"])
    arguments = (
        "csv",
        "t.csv",
        "out/shop",
        *NAMES,
        "--text=title",
        "--overwrite",
        "--skip_bad_rows",
    )
    assert convert(capsys, *arguments)[0] == 0
    for earlier in (True, False):
        if not earlier:
            for file in Path("out/shop").iterdir():
                file.unlink()
            Path("out/shop").rmdir()
            Path("out").rmdir()
        before = content(table.parent)
        with monkeypatch.context() as patch:
            FAULTS[fault](patch, code)
            status, out, err = convert(capsys, *arguments)
        if fault.startswith("move") and int(fault[5:]) > (8 if earlier else 4):
            assert status == 0  # a new data set has four files to move
            continue
        assert (status, out) == (2, "") and err.count("\n") == 1 and "cannot be written" in err, err
        assert content(table.parent) == before


def forked(folder, *arguments, before=lambda: None):
    """The command in a child of this process; what it prints on stderr goes to the file `errors`
    beside the folder.
    """

    def run():
        os.chdir(folder)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with open(folder.parent / "errors", "w") as file, contextlib.redirect_stderr(file):
            before()
            status = main(list(arguments))
        os._exit(status)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def test_a_limit_on_the_size_of_files(table):
    """The real thing: the system refuses to let a file grow (EFBIG), in the data base or in a file
    that is written.
    """
    write_lines(
        table,
        ["u,i,t,title", *(f"u{n % 99},i{n % 60},{1000 + n},{'x' * 60}" for n in range(16_000))],
    )
    before = content(table.parent)
    arguments = [
        "convert",
        "--source=csv",
        "--input=t.csv",
        "--output=out/shop",
        *NAMES,
        "--text=title",
    ]
    for limit in (8, 20_000, 100_000, 150_000):
        process = forked(
            table.parent,
            *arguments,
            before=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        process.join(60)
        # With no room at all the message, which goes to a file here, has none either.
        err = (table.parent.parent / "errors").read_text()
        assert process.exitcode == 2 or limit == 8
        assert limit == 8 or ("cannot be written" in err and err.count("\n") == 1)
        assert content(table.parent) == before


# --- Stops --------------------------------------------------------------------------------------
# ----------------------


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", ["replace", "mkdir", "unlink", "rmdir"])
def test_an_interrupt_at_any_step_leaves_all_or_nothing(name, late, table, monkeypatch):
    """Every change of a folder is interrupted once, just before (or just after) it is done."""
    arguments = [
        "convert",
        "--source=csv",
        "--input=t.csv",
        "--output=out/shop",
        *NAMES,
        "--text=title",
        "--overwrite",
    ]
    assert main(arguments) == 0
    old = content(table.parent)
    write_lines(table, [*table.read_text().splitlines(), "new,i1,5000,thing 1"])
    old["t.csv"] = table.read_bytes()
    real = getattr(os, name)
    for at in range(1, 12):
        calls = []

        def interrupted(*given, calls=calls, at=at, **named):
            calls.append(given)
            if len(calls) == at and not late:
                raise KeyboardInterrupt
            done = real(*given, **named)
            if len(calls) == at:
                raise KeyboardInterrupt
            return done

        with monkeypatch.context() as patch:
            patch.setattr(os, name, interrupted)
            status = main(arguments)
        if len(calls) < at:
            assert status == 0
            break
        assert status == 130
        seen = content(table.parent)
        if "new" in set(atomic(table.parent / "out/shop", "inter").user_id):
            assert name in ("unlink", "rmdir") and seen.keys() == old.keys()
        else:
            assert seen == old
    assert len(calls) < 11
    assert main(arguments) == 0 and "new" in set(atomic(table.parent / "out/shop", "inter").user_id)


def started(folder, *more):
    """A conversion in a process of its own that waits in the middle of writing."""
    waits = folder.parent / "waits"
    waits.unlink(missing_ok=True)

    def slow_down():
        real = Store.write

        def write(*given):
            real(*given)
            waits.touch()
            time.sleep(60)

        Store.write = write

    process = forked(
        folder,
        "convert",
        "--source=csv",
        "--input=t.csv",
        "--output=out/shop",
        *NAMES,
        "--text=title",
        *more,
        before=slow_down,
    )
    while not waits.exists():
        assert process.is_alive()
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(number, table):
    before = content(table.parent)
    process = started(table.parent)
    assert list(table.parent.rglob(".convert-*"))
    os.kill(process.pid, number)
    process.join(60)
    assert (
        process.exitcode == 130 and (table.parent.parent / "errors").read_text() == "Interrupted.\n"
    )
    assert content(table.parent) == before


def test_what_a_kill_leaves_is_removed_by_the_next_conversion_and_nothing_else_is(table, capsys):
    killed, living = started(table.parent), started(table.parent)
    try:
        left = {path.name for path in Path("out").glob(".convert-*")}
        assert len(left) == 2
        killed.kill()
        killed.join(60)
        own = Path("out", ".convert-mine")
        own.mkdir()
        (own / "notes").touch()
        assert convert(capsys, "csv", "t.csv", "out/other", *NAMES)[0] == 0
        still = {path.name for path in Path("out").glob(".convert-*")}
        assert (
            len(still & left) == 1
            and still - left == {".convert-mine"}
            and f"-{living.pid}-" in "".join(still)
        )
    finally:
        living.kill()
        living.join(60)
    assert convert(capsys, "csv", "t.csv", "out/shop", *NAMES)[0] == 0
    assert {path.name for path in Path("out").iterdir()} == {".convert-mine", "other", "shop"}
    (own / "notes").unlink()


def test_a_kill_beside_an_earlier_data_set_leaves_it_whole(table, capsys):
    assert convert(capsys, "csv", "t.csv", "out/shop", *NAMES, "--text=title")[0] == 0
    before = content(table.parent)
    process = started(table.parent, "--overwrite")
    process.kill()
    process.join(60)
    after = content(table.parent)
    assert {path: after[path] for path in before} == before
    assert convert(capsys, "csv", "t.csv", "out/other", *NAMES)[0] == 0  # into the same parent
    assert not list(Path("out").rglob(".convert-*"))


def test_signals_are_handled_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), workplace.stopped_like_interrupted():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) == before
