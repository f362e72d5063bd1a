"""The cache of token states: reused exactly when it may be, and unharmed by kills, full disks and
other processes.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from recbole_precise.errors import ConfigError, TextError
from recbole_precise.text import encode_cached, read_table, render, resolve_encoder
from recbole_precise.text.encoder import HfEncoder
from recbole_precise.text.store import EntryBuilder

TEXTS = [
    "",
    "toy story (1995)",
    "heat",
    'golden "eye"',
    "heat",
    "None",
    "  ",
    "star wars",
    "日本 \U0001f600",
    "x " * 300,
]


def same(a, b) -> bool:
    return (
        np.array_equal(a.offsets, b.offsets)
        and np.array_equal(a.token_ids, b.token_ids)
        and np.array_equal(a.states, b.states)
    )


def entries(folder):
    return sorted(p for p in folder.iterdir() if p.is_dir())


@pytest.fixture
def builds(monkeypatch):
    """Counts the entries that are built; the work itself goes on as ever."""
    count = []
    build = EntryBuilder.build

    def counted(self, *args, **kwargs):
        count.append(len(self.texts))
        return build(self, *args, **kwargs)

    monkeypatch.setattr(EntryBuilder, "build", counted)
    return count


def python(code, *args, env=None, **options):
    """Run code in a process of its own, with the paths of this one."""
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p), **(env or {}))
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        env=env,
        text=True,
        **options,
    )


def test_round_trip(model_folder, tmp_path, builds):
    first = encode_cached(TEXTS, str(model_folder), cache_dir=tmp_path)
    again = encode_cached(TEXTS, str(model_folder), cache_dir=tmp_path)
    assert same(first, again) and builds == [7]  # distinct texts that are not blank
    assert first.lengths[0] == first.lengths[6] == 0 and first.lengths[9] == 32
    assert (first.lengths[[1, 2, 3, 4, 5, 7, 8]] > 0).all()
    assert np.array_equal(first.tokens(2)[1], first.tokens(4)[1])
    assert (
        first.states.dtype == np.float16
        and first.token_ids.dtype == np.int32
        and first.offsets.dtype == np.int64
    )
    assert first.token_ids.max() < first.vocab_size and first.hidden_size == 32
    assert first.encoder["name"] == str(model_folder) and len(first.encoder["sha256"]) == 64
    assert first.encoder["settings"] == {"max_tokens": 32, "dtype": "float32"}
    json.dumps(first.encoder)


def test_distinct_texts_are_mapped_not_read(bert, tmp_path):
    states = encode_cached(["", "heat", "salt"], str(bert), cache_dir=tmp_path)
    assert isinstance(
        states.states.base if states.states.base is not None else states.states, np.memmap
    )


def test_order_and_batch_size_do_not_matter(model_folder, tmp_path, builds):
    first = encode_cached(TEXTS, str(model_folder), cache_dir=tmp_path / "a", batch_size=64)
    turned = encode_cached(TEXTS[::-1], str(model_folder), cache_dir=tmp_path / "a", batch_size=3)
    assert len(builds) == 1 and same(turned, first.select(np.arange(len(TEXTS))[::-1]))
    alone = encode_cached(TEXTS, str(model_folder), cache_dir=tmp_path / "b", batch_size=1)
    np.testing.assert_allclose(
        alone.states.astype(np.float32), first.states.astype(np.float32), rtol=2e-3, atol=2e-3
    )  # one step of fp16 at this size
    assert np.array_equal(alone.token_ids, first.token_ids)
    other_order = encode_cached(
        TEXTS[::-1], str(model_folder), cache_dir=tmp_path / "c", batch_size=64
    )
    assert same(other_order.select(np.arange(len(TEXTS))[::-1]), first)  # to the last bit


def test_texts_settings_and_models_never_mix(bert, llama, tmp_path, builds, another_bert):
    encode_cached(TEXTS, str(bert), cache_dir=tmp_path)
    encode_cached(TEXTS[:-1], str(bert), cache_dir=tmp_path)
    encode_cached(TEXTS, str(bert), cache_dir=tmp_path, max_tokens=16)
    encode_cached(TEXTS, str(bert), cache_dir=tmp_path, dtype="bf16")
    encode_cached(TEXTS, str(bert), cache_dir=tmp_path, layers=1)
    encode_cached(TEXTS, str(llama), cache_dir=tmp_path)
    encode_cached(TEXTS, str(another_bert(tmp_path / "b")), cache_dir=tmp_path)
    encode_cached([*TEXTS[:-1], TEXTS[-1] + "y"], str(bert), cache_dir=tmp_path)
    assert len(builds) == 8
    encode_cached(TEXTS, str(bert), cache_dir=tmp_path, dtype="float32", batch_size=2, device="cpu")
    assert len(builds) == 8


def test_model_changed_in_place(bert, tmp_path, builds, another_bert):
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    os.utime(folder / "model.safetensors", (1e9, 1e9))
    first = encode_cached(TEXTS, str(folder), cache_dir=tmp_path / "c")
    shutil.copy(another_bert(tmp_path / "b") / "model.safetensors", folder / "model.safetensors")
    second = encode_cached(TEXTS, str(folder), cache_dir=tmp_path / "c")
    assert len(builds) == 2 and not np.array_equal(first.states, second.states)


def test_an_entry_changed_without_a_new_time_stamp_is_found_out(bert, tmp_path, builds, caplog):
    first = encode_cached(TEXTS, str(bert), cache_dir=tmp_path).states.copy()
    for name in ("states.npy", "token_ids.npy", "offsets.npy", "digests.npy"):
        path = entries(tmp_path)[0] / name
        stat = path.stat()
        _flip(path)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert np.array_equal(encode_cached(TEXTS, str(bert), cache_dir=tmp_path).states, first)
        assert f"the contents of {name} have changed" in caplog.text
    assert len(builds) == 5


def _flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x40
    path.write_bytes(data)


HARMS = {
    "flipped": lambda e: _flip(e / "states.npy"),
    "flipped offsets": lambda e: _flip(e / "offsets.npy"),
    "truncated": lambda e: os.truncate(e / "states.npy", 700),
    "emptied": lambda e: (e / "token_ids.npy").write_bytes(b""),
    "lost array": lambda e: (e / "digests.npy").unlink(),
    "lost meta": lambda e: (e / "meta.json").unlink(),
    "broken meta": lambda e: (e / "meta.json").write_text('{"key": '),
    "other meta": lambda e: (e / "meta.json").write_text("[]"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_damaged_entry_is_rebuilt_with_a_warning(harm, bert, tmp_path, builds, caplog):
    first = encode_cached(TEXTS, str(bert), cache_dir=tmp_path)
    before = (first.states.copy(), first.offsets.copy())
    HARMS[harm](entries(tmp_path)[0])
    with caplog.at_level(logging.WARNING):
        again = encode_cached(TEXTS, str(bert), cache_dir=tmp_path)
    assert (
        len(builds) == 2
        and np.array_equal(again.states, before[0])
        and np.array_equal(again.offsets, before[1])
    )
    warnings = [r.getMessage() for r in caplog.records if r.name.startswith("recbole_precise")]
    assert (
        len(warnings) == 1
        and str(entries(tmp_path)[0]) in warnings[0]
        and "encoding the texts again" in warnings[0]
    )
    encode_cached(TEXTS, str(bert), cache_dir=tmp_path)
    assert len(builds) == 2


def test_cache_of_another_model_is_not_taken(bert, tmp_path, builds, caplog, another_bert):
    """Folders exchanged by hand: the same texts, but the states of another model."""
    other = another_bert(tmp_path / "other")
    first = encode_cached(TEXTS, str(bert), cache_dir=tmp_path / "c").states.copy()
    (mine,) = entries(tmp_path / "c")
    encode_cached(TEXTS, str(other), cache_dir=tmp_path / "d")
    (theirs,) = entries(tmp_path / "d")
    shutil.rmtree(mine)
    shutil.copytree(theirs, mine)
    again = encode_cached(TEXTS, str(bert), cache_dir=tmp_path / "c")
    assert len(builds) == 3 and np.array_equal(again.states, first)
    assert "another model" in caplog.text


def test_copied_cache_is_used(bert, tmp_path, builds, caplog):
    first = encode_cached(TEXTS, str(bert), cache_dir=tmp_path / "a")
    shutil.copytree(
        tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile
    )  # new time stamps
    assert same(first, encode_cached(TEXTS, str(bert), cache_dir=tmp_path / "b"))
    assert len(builds) == 1 and not caplog.records


def test_second_run_loads_no_model(bert, tmp_path):
    encode_cached(TEXTS, str(bert), cache_dir=tmp_path)
    code = """
        import sys
        from recbole_precise.text import encode_cached
        states = encode_cached(sys.argv[3:], sys.argv[1], cache_dir=sys.argv[2])
        states.pooled(), states.without_special().states
        libraries = {"transformers", "tokenizers", "safetensors"}
        assert not libraries & set(sys.modules), "a model library was imported"
    """
    run = python(code, bert, tmp_path, *TEXTS, stderr=subprocess.PIPE)
    assert run.wait(120) == 0, run.stderr.read()


def test_two_processes_build_once(bert, tmp_path):
    code = """
        import hashlib, logging, sys
        from recbole_precise.text import encode_cached
        from recbole_precise.text.store import EntryBuilder
        build = EntryBuilder.build
        EntryBuilder.build = lambda *a, **k: (print("built", flush=True), build(*a, **k))[1]
        texts = [f"toy story {i}" for i in range(400)]
        states = encode_cached(texts, sys.argv[1], cache_dir=sys.argv[2])
        print(hashlib.sha256(states.states.tobytes()).hexdigest())
    """
    runs = [python(code, bert, tmp_path, stdout=subprocess.PIPE) for _ in range(2)]
    output = [run.communicate(timeout=120)[0].split() for run in runs]
    assert all(run.returncode == 0 for run in runs)
    assert (
        sum("built" in words for words in output) == 1 and len({words[-1] for words in output}) == 1
    )


MANY = [f"toy story {i} of salt" for i in range(1200)]
ENCODE = """
    import sys
    from recbole_precise.text import encode_cached
    texts = [f"toy story {i} of salt" for i in range(1200)]
    encode_cached(texts, sys.argv[1], cache_dir=sys.argv[2], batch_size=1, shard_seconds=0)
"""


@pytest.fixture(scope="module")
def whole(bert, tmp_path_factory):
    """States of MANY by a run that nobody interrupts."""
    return encode_cached(MANY, str(bert), cache_dir=tmp_path_factory.mktemp("whole"), batch_size=1)


@pytest.fixture(scope="module")
def killed(bert, tmp_path_factory):
    """The cache folder of a run that got SIGKILL after some finished shards, and their number."""
    folder = tmp_path_factory.mktemp("killed")
    run = python(ENCODE, bert, folder)
    deadline, shards = time.monotonic() + 120, 0
    while shards < 5 and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.005)
        shards = sum(p.read_bytes().count(b"\n") for p in folder.glob("*.partial/journal.jsonl"))
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    (partial,) = folder.glob("*.partial")
    assert not list(folder.glob("states-*/meta.json"))
    return folder, (partial / "journal.jsonl").read_bytes().count(b"\n")


@pytest.mark.parametrize("harm", ["none", "torn line", "lost block", "torn plan"])
def test_killed_run_goes_on(harm, bert, killed, whole, tmp_path, caplog):
    folder, shards = tmp_path / "c", killed[1]
    shutil.copytree(killed[0], folder)
    (partial,) = folder.glob("*.partial")
    if harm == "torn line":
        with (partial / "journal.jsonl").open("ab") as file:
            file.write(b'{"first": 4')
    elif harm == "lost block":  # written by the dead run, but never to the disk
        size = (partial / "states.npy").stat().st_size
        with (partial / "states.npy").open("r+b") as file:
            file.seek(128)
            file.write(bytes(size - 128))
    elif harm == "torn plan":
        (partial / "plan.json").write_text("{")
    with caplog.at_level(logging.INFO):
        resumed = encode_cached(MANY, str(bert), cache_dir=folder, batch_size=1)
    assert same(resumed, whole)
    assert not list(folder.glob("*.partial"))
    done = [r.args[1] for r in caplog.records if r.getMessage().startswith("Going on")]
    if harm in ("none", "torn line"):
        assert len(done) == 1 and shards <= done[0] < len(MANY)
    else:
        assert done == ([0] if harm == "lost block" else [])


LIMITED = """
    import resource, sys
    from recbole_precise.errors import TextError
    from recbole_precise.text import encode_cached
    limit = int(sys.argv[3])
    # The kernel refuses longer files, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        texts = [f"toy story {i} of salt" for i in range(1200)]
        encode_cached(texts, sys.argv[1], cache_dir=sys.argv[2], batch_size=1, shard_seconds=0)
    except TextError as error:
        print(error)
        sys.exit(2)
"""


def test_full_disk(bert, tmp_path):
    earlier = encode_cached(TEXTS, str(bert), cache_dir=tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.glob("states-*/*")}
    run = python(LIMITED, bert, tmp_path, 200_000, stdout=subprocess.PIPE)
    message = run.communicate(timeout=120)[0]
    assert run.returncode == 2 and message.count("\n") == 1
    assert str(tmp_path) in message and "text_cache_dir" in message
    needed = int(message.split("they need ")[1].split()[0].replace(",", ""))
    assert {p: p.read_bytes() for p in tmp_path.glob("states-*/*")} == before
    assert len(entries(tmp_path)) == 1  # neither an entry nor a partial one is left behind
    assert same(earlier, encode_cached(TEXTS, str(bert), cache_dir=tmp_path))
    encode_cached(MANY, str(bert), cache_dir=tmp_path)
    (large,) = set(entries(tmp_path)) - {next(iter(before)).parent}
    assert needed * 0.9 < sum(p.stat().st_size for p in large.iterdir()) <= needed * 1.1


def test_disk_that_fills_while_encoding_keeps_finished_shards(bert, killed, whole, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(killed[0], folder)
    (partial,) = folder.glob("*.partial")
    run = python(LIMITED, bert, folder, 1000, stdout=subprocess.PIPE)
    message = run.communicate(timeout=120)[0]
    assert run.returncode == 2 and "no room" in message and str(folder) in message
    assert (partial / "journal.jsonl").read_bytes().count(b"\n") >= killed[1]
    assert same(encode_cached(MANY, str(bert), cache_dir=folder, batch_size=1), whole)


def test_places_that_cannot_hold_a_cache(bert, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(TextError, match=r"file.*cannot be cached there.*text_cache_dir"):
        encode_cached(TEXTS, str(bert), cache_dir=tmp_path / "file" / "below")


def test_nothing_to_encode(bert, tmp_path):
    with pytest.raises(TextError, match="All 3 item texts are empty; let item_text name columns"):
        encode_cached(["", " ", "\n"], str(bert), cache_dir=tmp_path)
    for options, name in (
        ({"max_tokens": 0}, "text_max_tokens"),
        ({"batch_size": 0}, "text_batch_size"),
    ):
        with pytest.raises(ConfigError, match=f"{name} must be at least 1"):
            encode_cached(TEXTS, str(bert), cache_dir=tmp_path, **options)


def test_loaded_model_is_used_as_it_is(bert, tmp_path, builds):
    model = HfEncoder(resolve_encoder(str(bert), tmp_path), "bf16")
    first = encode_cached(TEXTS, model, cache_dir=tmp_path)
    again = encode_cached(TEXTS, str(bert), cache_dir=tmp_path, dtype="bf16")
    assert len(builds) == 1 and same(first, again)


def test_default_folder(bert, tmp_path, monkeypatch):
    monkeypatch.setenv("RECBOLE_PRECISE_CACHE", str(tmp_path / "c"))
    encode_cached(["heat"], str(bert))
    assert len(entries(tmp_path / "c")) == 1


def test_half_surrogates_are_encoded(bert, tmp_path):
    assert encode_cached(["a \ud83d b"], str(bert), cache_dir=tmp_path).lengths[0] > 2


def test_progress_bar_only_on_request(bert, tmp_path, capfd):
    encode_cached(TEXTS, str(bert), cache_dir=tmp_path / "a")
    assert capfd.readouterr().err == ""
    encode_cached(TEXTS, str(bert), cache_dir=tmp_path / "b", progress=True)
    assert "Encode" in capfd.readouterr().err


def test_hard_titles_from_file_to_states_with_the_bundled_model(tmp_path):
    titles = [
        '5" "cup"',
        "None",
        "NA",
        "nan",
        "\U0001f600",
        "日本語",
        "",
        "tab\u2003space",
        "O'Neill’s",
        "[SEP]",
    ]
    lines = ["item_id:token\ttitle:token_seq"] + [f"{i}\t{title}" for i, title in enumerate(titles)]
    (tmp_path / "x.item").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _, rows = read_table(tmp_path / "x.item")
    texts = render("{title}", rows)
    assert texts == titles
    states = encode_cached(["", *texts], cache_dir=tmp_path)
    assert (
        states.hidden_size == 384
        and states.vocab_size == 30522
        and states.special_token_ids == (0, 101, 102, 103)
    )
    assert (
        states.lengths[0] == states.lengths[7] == 0
        and (np.delete(states.lengths, [0, 7]) >= 3).all()
    )
    pooled = states.pooled()
    assert len(np.unique(pooled[[1, 2, 3, 4, 5, 6, 8, 9, 10]], axis=0)) == 9
    assert states.token_ids.tolist().count(102) == 9  # "[SEP]" in a title is text, not a mark


@pytest.mark.slow
def test_pooled_states_equal_sentence_transformers(tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    texts = [
        "Toy Story (1995) Animation",
        "GoldenEye (1995)",
        "Saran Premium Plastic Wrap, 100 Sq Ft",
        "word " * 60,
    ]
    theirs = sentence_transformers.SentenceTransformer(
        str(resolve_encoder("auto", tmp_path).folder), device="cpu"
    )
    theirs.max_seq_length = 32
    ours = encode_cached(texts, cache_dir=tmp_path).pooled()
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    np.testing.assert_allclose(ours, theirs.encode(texts), atol=2e-4)
