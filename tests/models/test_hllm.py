"""HLLM whose item model learns: against slow references, against HLLM-Cached, in runs that are
loaded and asked again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pad_data import WORDS
from ring_data import write_ring
from safetensors.torch import load_file
from tiny_models import build_bert

import recbole_precise as rp
from recbole_precise import cli
from recbole_precise.errors import ConfigError, TextError
from recbole_precise.plugin.launch import free_port
from recbole_precise.text.encoder import HfEncoder
from recbole_precise.text.sources import resolve_encoder
from recbole_precise.training.phases import rate_groups

SMALL = {
    "embedding_size": 8, "n_layers": 1, "n_heads": 2, "inner_size": 16, "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0, "MAX_ITEM_LIST_LENGTH": 6, "n_negatives": 6,
    "train_batch_size": 8, "gpu_id": "", "show_progress": False, "state": "ERROR",
    "item_text": "{title}", "tensorboard": False,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
}  # fmt: skip
FORMS = ["HLLM-Top", "HLLM-Full"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory, bert):
    """40 items, one of them without a text, whose titles differ in length."""
    titles = ["" if i == 7 else " ".join([WORDS[i % 8], *WORDS[: i % 4]]) for i in range(40)]
    return {
        **write_ring(tmp_path_factory.mktemp("data"), titles.__getitem__, users=40, lengths=5),
        "text_encoder": str(bert),
    }


def build(name, shop, **settings):
    config = rp.Config(
        model=name,
        dataset="ring",
        config_dict={
            **SMALL,
            **({"tuned_layers": 1} if name == "HLLM-Top" else {}),
            **shop,
            **settings,
        },
    )
    train, _, test = rp.data_preparation(config, rp.create_dataset(config))
    torch.manual_seed(0)
    return train, test, rp.get_model(name)(config, train._dataset).eval()


def language(model):
    return model.item_encoder.parts[0].text.language


def train_a_little(model, train, steps=3):
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = rate_groups(model.phases()[0], model, trained, 0.01)
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    model.train()
    torch.manual_seed(1)
    losses = []
    for batch in list(train)[:steps]:
        optimizer.zero_grad()
        losses.append(model.calculate_loss(batch))
        losses[-1].backward()
        optimizer.step()
    model.eval()
    return [float(loss.detach()) for loss in losses], groups


# --- The forward pass against a reference that shares nothing with it -------------------------


def norm(x, weights, name, eps=1e-12):
    return (x - x.mean()) / torch.sqrt(((x - x.mean()) ** 2).mean() + eps) * weights[
        f"{name}.weight"
    ] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def bert_layer(xs, weights, layer, heads=2):
    """One layer of a BERT, token by token and head by head."""
    at = f"encoder.layer.{layer}"
    queries, keys, values = (
        [linear(x, weights, f"{at}.attention.self.{name}") for x in xs]
        for name in ("query", "key", "value")
    )
    size, out = len(xs[0]) // heads, []
    for i, x in enumerate(xs):
        mixed = []
        for head in (slice(h * size, (h + 1) * size) for h in range(heads)):
            shares = torch.stack(
                [queries[i][head] @ key[head] / size**0.5 for key in keys]
            ).softmax(0)
            mixed.append(sum(share * value[head] for share, value in zip(shares, values)))
        attended = norm(
            x + linear(torch.cat(mixed), weights, f"{at}.attention.output.dense"),
            weights,
            f"{at}.attention.output.LayerNorm",
        )
        inner = F.gelu(linear(attended, weights, f"{at}.intermediate.dense"))
        out.append(
            norm(
                attended + linear(inner, weights, f"{at}.output.dense"),
                weights,
                f"{at}.output.LayerNorm",
            )
        )
    return out


def slow_item(model, states, ids, xs, layers):
    """An item's vector from what enters the layers: each layer, the mean of the tokens that are no
    marks, the centre, the linear map.
    """
    part = model.item_encoder.parts[0]
    weights = {name: tensor.double() for name, tensor in language(model).model.state_dict().items()}
    for layer in range(layers):
        xs = bert_layer(xs, weights, layer)
    kept = [x for x, token in zip(xs, ids) if token not in states.special_token_ids]
    return part.adapter.weight.double() @ (sum(kept) / len(kept) - part.text.mean.double())


@pytest.mark.parametrize("name", FORMS)
def test_item_vectors_are_their_formula(name, shop):
    train, _, model = build(name, shop)
    train_a_little(model, train)
    states = train._dataset.token_states()
    below = train._dataset.token_states(below=1)
    weights = {key: tensor.double() for key, tensor in language(model).model.state_dict().items()}
    with torch.no_grad():
        vectors = model.item_encoder.all_items()
        for item in (1, 2, 3, 20):
            ids, _ = states.tokens(item)
            if name == "HLLM-Top":
                slow = slow_item(
                    model,
                    states,
                    ids,
                    list(torch.from_numpy(below.tokens(item)[1].astype(np.float64))),
                    1,
                )
            else:
                words, places, kinds = (
                    weights[f"embeddings.{kind}_embeddings.weight"]
                    for kind in ("word", "position", "token_type")
                )
                xs = [
                    norm(words[token] + places[i] + kinds[0], weights, "embeddings.LayerNorm")
                    for i, token in enumerate(ids)
                ]
                slow = slow_item(model, states, ids, xs, 2)
            torch.testing.assert_close(vectors[item].double(), slow, rtol=1e-5, atol=1e-5)
        blank = train._dataset.token2id("item_id", "i7")
        assert torch.equal(vectors[blank], model.item_encoder.parts[0].no_text) and torch.equal(
            vectors[0], vectors[blank]
        )


def test_a_loss_is_infonce_over_those_vectors(shop, monkeypatch):
    """Scale, cosines, the pool of negatives without twins of the target: by hand from the item
    vectors and the states.
    """
    train, _, model = build("HLLM-Full", shop)
    drawn = []
    draw = model.sampler.draw
    monkeypatch.setattr(model.sampler, "draw", lambda items: drawn.append(draw(items)) or drawn[-1])
    interaction = next(iter(train))
    loss = model.calculate_loss(interaction)
    batch = model.next_items(interaction)
    with torch.no_grad():
        vectors, losses = F.normalize(model.item_encoder.all_items(), dim=1), []
        states = (
            F.normalize(
                model.sequence_encoder(model.item_encoder(batch.item_seq), batch.mask), dim=2
            )
            / 0.07
        )
        for row, position in batch.trained.nonzero().tolist():
            target = int(batch.targets[row, position])
            pool = [
                item
                for item in drawn[0].tolist()
                if item != target and vectors[item] @ vectors[target] <= 0.99
            ]
            scores = torch.stack(
                [states[row, position] @ vectors[item] for item in [target, *pool]]
            )
            losses.append(-scores.log_softmax(0)[0])
    torch.testing.assert_close(loss.detach(), torch.stack(losses).mean(), rtol=1e-4, atol=1e-4)


# --- Beside HLLM-Cached -----------------------------------------------------------------------


def test_without_tuned_layers_it_is_hllm_cached(shop):
    (train, test, cached), (_, _, top) = (
        build("HLLM-Cached", shop),
        build("HLLM-Top", shop, tuned_layers=0),
    )
    batches = list(train)
    assert train_a_little(cached, batches)[0] == train_a_little(top, batches)[0]
    rows = test._dataset[torch.arange(10)]
    assert torch.equal(cached.full_sort_predict(rows), top.full_sort_predict(rows))


@pytest.mark.parametrize("name", FORMS)
def test_a_language_model_that_does_not_learn_is_hllm_cached(name, shop):
    """Up to the float16 of the cached states: the same losses and scores step for step, and not one
    bit of it moves.
    """
    (train, test, cached), (_, _, model) = (
        build("HLLM-Cached", shop),
        build(name, shop, language_rate=0),
    )
    before = {key: tensor.clone() for key, tensor in language(model).state_dict().items()}
    assert set(model.state_dict()) - set(cached.state_dict()) == {
        f"item_encoder.parts.0.text.language.{key}" for key in before
    }  # what warm_start does not find in its run
    batches = list(train)
    ours, groups = train_a_little(model, batches)
    assert ours == pytest.approx(train_a_little(cached, batches)[0], rel=5e-3)
    assert all(
        torch.equal(tensor, before[key]) for key, tensor in language(model).state_dict().items()
    )
    rows = test._dataset[torch.arange(10)]
    torch.testing.assert_close(
        model.full_sort_predict(rows), cached.full_sort_predict(rows), rtol=0.02, atol=0.1
    )  # of scores up to 14
    assert [group["lr"] for group in groups] == [0.01, 0.0] and {
        id(p) for p in groups[1]["params"]
    } == {id(p) for p in language(model).parameters()}


@pytest.mark.parametrize("name", FORMS)
def test_the_language_model_learns_at_its_own_rate(name, shop):
    train, _, model = build(name, shop, language_rate=0.25)
    before = {key: tensor.clone() for key, tensor in language(model).state_dict().items()}
    _, groups = train_a_little(model, train)
    assert [group["lr"] for group in groups] == [0.01, 0.0025]
    moved = {
        key
        for key, tensor in language(model).state_dict().items()
        if not torch.equal(tensor, before[key])
    }
    assert moved == set(before)
    numbers = {key.split("layer.")[1].split(".")[0] for key in before if "layer." in key}
    assert (numbers, any("embeddings" in key for key in before)) == (
        ({"0"}, False) if name == "HLLM-Top" else ({"0", "1"}, True)
    )


# --- What is read, and how often --------------------------------------------------------------


@pytest.mark.parametrize("name", FORMS)
def test_a_step_reads_each_of_its_items_once_and_an_evaluation_the_catalogue_once(
    name, shop, monkeypatch
):
    train, test, model = build(name, shop)
    text, read = model.item_encoder.parts[0].text, []
    means = text._means
    monkeypatch.setattr(
        text, "_means", lambda items, device: read.extend(items.tolist()) or means(items, device)
    )
    drawn = []
    draw = model.sampler.draw
    monkeypatch.setattr(model.sampler, "draw", lambda items: drawn.append(draw(items)) or drawn[-1])
    interaction = next(iter(train))
    batch = model.next_items(interaction)
    model.train().calculate_loss(interaction)
    wanted = (
        set(batch.item_seq.flatten().tolist())
        | set(batch.targets.flatten().tolist())
        | set(drawn[0].tolist())
    )
    assert sorted(read) == sorted(item for item in wanted if text.has_text[item])
    assert len(read) <= 8 * 6 + 8 + 6
    model.eval()
    read.clear()
    for first in (0, 10, 20):
        rows = test._dataset[torch.arange(first, first + 10)]
        model.full_sort_predict(rows)
        model.predict(rows)
    assert sorted(read) == torch.nonzero(text.has_text).squeeze(1).tolist()
    train_a_little(model, train, steps=1)
    model.full_sort_predict(rows)
    read.clear()
    with torch.no_grad():
        model.item_encoder(torch.tensor([[1, 2], [0, 1]]))
    assert not read


def test_reading_once_gives_the_gradient_of_reading_anew(shop, monkeypatch):
    from recbole_precise.nn.item_encoders import ItemEncoder
    from recbole_precise.nn.learning_text import LearningItems

    train, _, model = build("HLLM-Full", shop)
    batch, gradients = next(iter(train)), []
    for _ in range(2):
        torch.manual_seed(2)
        model.zero_grad()
        model.train().calculate_loss(batch).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
        monkeypatch.setattr(LearningItems, "forward", ItemEncoder.forward)
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_a_step_under_autocast_is_the_step(shop):
    """The language model computes in bfloat16 where the run does.

    Its weights and their gradients stay float32.
    """
    train, _, model = build("HLLM-Full", shop)
    batch, losses = next(iter(train)), []
    for enabled in (False, True):
        torch.manual_seed(2)
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(model.train().calculate_loss(batch))
            assert model.item_encoder(torch.tensor([1, 2])).dtype == torch.float32
        losses[-1].backward()
    assert float(losses[1].detach()) == pytest.approx(
        float(losses[0].detach()), rel=0.05
    ) and not torch.equal(losses[0], losses[1])
    assert all(
        parameter.grad.dtype == torch.float32 and torch.isfinite(parameter.grad).all()
        for parameter in model.parameters()
    )


def test_how_many_texts_are_read_at_once_changes_nothing(shop):
    _, _, model = build("HLLM-Full", shop)
    text = model.item_encoder.parts[0].text
    with torch.no_grad():
        whole = text.rows(None)
        for batch in (1, 40):
            text.batch = batch
            torch.testing.assert_close(text.rows(None), whole, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                text.rows(torch.tensor([5, 0, 3, 5])), whole[[5, 0, 3, 5]], rtol=1e-4, atol=1e-5
            )


# --- Runs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMS)
def test_what_was_learnt_comes_back_and_reads_new_items(name, shop, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["test"])
    flat = {
        **SMALL,
        **shop,
        "epochs": 2,
        "learning_rate": 0.01,
        "language_rate": 1.0,
        **({"tuned_layers": 1} if name == "HLLM-Top" else {}),
    }
    arguments = [f"--{key}={value}" for key, value in flat.items()]
    assert (
        cli.main(
            [
                "run",
                f"--model={name}",
                "--dataset=ring",
                f"--run_dir={tmp_path / 'run'}",
                *arguments,
            ]
        )
        == 0
    ), capsys.readouterr().err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["model"] == name and result["text_encoder"]["tuned_layers"] == (
        1 if name == "HLLM-Top" else "all"
    )

    # the weights of the run are those of the last layers alone, or of all; none of them is the
    # encoder's any more
    saved = {
        key.split(".language.model.")[1]: tensor
        for key, tensor in load_file(tmp_path / "run" / "model.safetensors").items()
        if ".language." in key
    }
    plain = load_file(Path(shop["text_encoder"], "model.safetensors"))
    plain = {
        key.removeprefix("bert."): tensor for key, tensor in plain.items() if "pooler" not in key
    }
    if name == "HLLM-Top":
        plain = {
            key.replace("layer.1.", "layer.0."): tensor
            for key, tensor in plain.items()
            if "encoder.layer.1." in key
        }
    assert saved.keys() == plain.keys() and not any(
        torch.equal(saved[key], plain[key]) for key in saved
    )

    # evaluate gives the metrics of the run again, and a new item with a known one's text is its
    # twin
    file = tmp_path / "new.jsonl"
    file.write_text(
        "\n".join(
            json.dumps({"item_id": token, "title": title})
            for token, title in (("twin", "black coffee red tea green tea"), ("blank", ""))
        )
        + "\n"
    )
    from recbole_precise.finished import load_finished

    run = load_finished(str(tmp_path / "run"), {"gpu_id": ""}, str(file))
    old = run.dataset.token2id("item_id", "i2")
    assert (
        run.readable.tolist() == [True, False]
        and run.texts()[old] == "black coffee red tea green tea"
    )
    vectors = run.model.item_vectors()
    torch.testing.assert_close(
        vectors[-2], vectors[old], rtol=1e-3, atol=1e-3
    )  # float16 below the layers of HLLM-Top
    torch.testing.assert_close(vectors[-1], vectors[run.dataset.token2id("item_id", "i7")])
    capsys.readouterr()
    assert cli.main(["evaluate", f"--run_dir={tmp_path / 'run'}", "--split=test"]) == 0, (
        capsys.readouterr().err
    )
    told = capsys.readouterr().out
    assert all(
        f"'{metric}': {round(value, 6)}" in told for metric, value in result["test"].items()
    ), told


@pytest.mark.slow
def test_two_processes_train_one_language_model(shop, tmp_path):
    """Gradients of the language model are averaged too: both processes leave one model, which one
    process evaluates to the same metrics.
    """
    settings = {**SMALL, **shop, "epochs": 1, "run_dir": tmp_path / "run", "port": free_port()}
    command = [
        sys.executable,
        "-m",
        "recbole_precise",
        "run",
        "--model=HLLM-Full",
        "--dataset=ring",
        "--nproc=2",
        *(f"--{key}={value}" for key, value in settings.items()),
    ]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (
        cli.main(
            [
                "evaluate",
                f"--run_dir={tmp_path / 'run'}",
                f"--output={tmp_path / 'again.json'}",
                "--gpu_id=",
            ]
        )
        == 0
    )
    assert json.loads((tmp_path / "again.json").read_text())["test"] == result["test"]


# --- Decoders, and what cannot be -------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "qwen"])
@pytest.mark.parametrize("name", FORMS)
def test_decoders_learn_too(name, kind, shop, request):
    """Their norm stands behind the last layer: what enters the layers that learn is the state
    before it.
    """
    folder = str(request.getfixturevalue(kind))
    train, _, model = build(name, shop, text_encoder=folder)
    text = model.item_encoder.parts[0].text
    with torch.no_grad():
        torch.testing.assert_close(text.rows(None), text.vectors, rtol=0.02, atol=0.02)
    train_a_little(model, train)
    assert all(parameter.grad is not None for parameter in language(model).parameters())
    assert ("norm.weight" in dict(language(model).model.named_parameters())) and any(
        "embed" in key for key in language(model).state_dict()
    ) == (name == "HLLM-Full")


def test_states_that_enter_a_layer_are_raw(bert, llama, tmp_path):
    from transformers import AutoModel

    for folder in (bert, llama):
        source, plain = (
            resolve_encoder(str(folder), tmp_path),
            AutoModel.from_pretrained(folder).eval(),
        )
        ids, _ = HfEncoder(source).tokenize(["salt sugar tea"], 24)
        with torch.no_grad():
            states = plain(
                input_ids=torch.from_numpy(ids[None].astype(np.int64)), output_hidden_states=True
            ).hidden_states
        for layer in (0, 1):
            ours = HfEncoder(source, layers=layer, raw=True).encode_batch([ids])
            np.testing.assert_allclose(
                ours.astype(np.float32), states[layer][0].numpy(), atol=2e-3, rtol=2e-3
            )


def without_layers(folder, shop_encoder):
    """An encoder and a decoder in one, whose encoder alone is read: it is not read in part."""
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
    AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(shop_encoder).save_pretrained(folder)
    return str(folder)


def test_mistakes_are_one_sentence(shop, tmp_path):
    with pytest.raises(
        ConfigError,
        match="HLLM-Top: tuned_layers must lie between 0 and 2, the layers that are read of .*, "
        "not 3",
    ):
        build("HLLM-Top", shop, tuned_layers=3)
    with pytest.raises(
        ConfigError, match="HLLM-Top: tuned_layers must lie between 0 and 1, .*not 2"
    ):
        build("HLLM-Top", shop, tuned_layers=2, text_layers=1)
    with pytest.raises(ConfigError, match="tuned_layers .* must be a whole number at least 0"):
        build("HLLM-Top", shop, tuned_layers=-1)
    with pytest.raises(ConfigError, match="Unknown key 'tuned_layers' .* for model HLLM-Full"):
        build("HLLM-Full", shop, tuned_layers=1)
    with pytest.raises(ConfigError, match="Unknown model 'HLLM'. Did you mean 'HLLM-"):
        build("HLLM", shop)
    with pytest.raises(
        ConfigError,
        match="HLLM-Full trains the model that reads the texts, which text_form: codes does not "
        "read",
    ):
        build("HLLM-Full", shop, text_form="codes")
    with pytest.raises(
        ConfigError, match="HLLM-Top has one item model, and decouple_tables asks for two"
    ):
        build("HLLM-Top", shop, decouple_tables=True)
    with pytest.raises(
        TextError, match="HLLM-Full reads item texts, but ring says nothing of them: set item_text"
    ):
        build("HLLM-Full", shop, item_text=None)
    with pytest.raises(TextError, match="text_encoder: 'no/such' is not at hand"):
        build("HLLM-Full", shop, text_encoder="no/such")
    folder = tmp_path / "gguf"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(TextError, match="config.json is missing"):
        build("HLLM-Full", shop, text_encoder=str(folder))
    t5 = without_layers(tmp_path / "t5", shop["text_encoder"])
    with pytest.raises(
        ConfigError,
        match="HLLM-Top: the layers of .*t5, a T5Stack, cannot be told apart, so its last 1 "
        "cannot be trained alone; train all of it",
    ):
        build("HLLM-Top", shop, text_encoder=t5)
    train, _, model = build("HLLM-Full", shop, text_encoder=t5)
    train_a_little(model, train, steps=1)


def test_layers_that_do_not_go_on_are_refused(shop, monkeypatch):
    """A model whose last layers read more than the states below would learn from something else
    than the whole encoder gives.
    """
    from recbole_precise.text import language_model

    original = language_model._keep_last
    monkeypatch.setattr(
        language_model,
        "_keep_last",
        lambda model, top, encoder: (
            original(model, top, encoder),
            model.encoder.layer[0].intermediate.dense.weight.data.neg_(),
        ),
    )
    with pytest.raises(
        ConfigError,
        match="HLLM-Top: the last layers of this encoder, a BertModel, do not go on from the "
        "states of the layers below as the whole does; train all of it",
    ):
        build("HLLM-Top", shop)


def test_another_encoder_is_another_model(shop, tmp_path):
    build_bert(tmp_path / "other", seed=1)
    one, other = (
        build("HLLM-Full", shop)[2],
        build("HLLM-Full", shop, text_encoder=str(tmp_path / "other"))[2],
    )
    assert one.text_encoder["sha256"] != other.text_encoder["sha256"]
