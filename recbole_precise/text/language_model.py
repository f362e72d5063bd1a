"""A text encoder to be trained: all of it, or its last layers.

The last layers read the states that the layers below give, which are cached.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_precise.text.encoder import HfEncoder
from recbole_precise.text.sources import EncoderSource


class LanguageModel(nn.Module):
    """Tokens to their last hidden states, with a gradient.

    What only other uses of the model need (a pooler) is left out.

    Its dropout stays off: an item has one vector in a step, and the cached states below have no
    dropout either.

    Args:
        encoder: loaded in float32; its model is taken over and changed.
        top: train its last `top` layers alone, with the norm behind them if there is one; None: all
            of it, embeddings included.

    Raises ValueError when the model does not have so many layers, or not in a list of their own.
    """

    def __init__(self, encoder: HfEncoder, top: int | None = None) -> None:
        super().__init__()
        model = encoder.model
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        if top is not None:
            _keep_last(model, top, encoder)
        self.reads_states = top is not None
        self.padding_id = encoder.padding_id
        self.model = model.requires_grad_(True)

    def train(self, mode: bool = True) -> LanguageModel:
        """Leave dropout off: training changes weights alone."""
        return super().train(False)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Last hidden states `[texts, length, hidden]`.

        Args:
            tokens: vocabulary ids `[texts, length]`; with `reads_states` the states that enter the
                layers, `[texts, length, hidden]`.
            mask: bool `[texts, length]`, False in the padding, which is on the right.
        """
        name = "inputs_embeds" if self.reads_states else "input_ids"
        return self.model(**{name: tokens}, attention_mask=mask.long()).last_hidden_state


class _PassedOn(nn.Module):
    """In the place of a model's embeddings: what enters its layers is given."""

    def forward(
        self, *args: Any, inputs_embeds: Tensor | None = None, **kwargs: Any
    ) -> Tensor | None:
        return inputs_embeds


def _keep_last(model: Any, top: int, encoder: HfEncoder) -> None:
    """Leave of `model`, of transformers, its last `top` layers and what comes after them."""
    name = encoder.source.name
    count = encoder.n_layers
    if count is not None and not 1 <= top <= count:
        raise ValueError(
            f"tuned_layers must lie between 0 and {count}, the layers that are read of {name}, "
            f"not {top}"
        )
    lists = [
        (place, module)
        for place, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    if count is None or not lists:
        raise ValueError(
            f"the layers of {name}, a {type(model).__name__}, cannot be told apart, so its last "
            f"{top} cannot be trained alone; train all of it"
        )
    place, layers = lists[0]
    parent, _, attribute = place.rpartition(".")
    setattr(model.get_submodule(parent), attribute, layers[count - top :])
    model.config.num_hidden_layers = top
    kinds = getattr(model.config, "layer_types", None)
    if kinds:
        model.config.layer_types = list(kinds)[count - top :]
    if hasattr(model, "embeddings"):
        model.embeddings = _PassedOn()
    else:  # a decoder takes what it is given as it is; its table of words has no part in that
        model.set_input_embeddings(nn.Identity())


def load_language_model(
    source: EncoderSource, top: int | None, layers: int | None = None
) -> tuple[LanguageModel, int | None]:
    """Load a language model to be trained, in float32 on the CPU.

    Gives the model and the layer that what it reads enters (None: it reads token ids). torch's
    randomness stays as it was.

    Args:
        source: an `EncoderSource`. top: as `LanguageModel`. layers: of the encoder that are read,
            from the first on; None: all.

    Raises TextError when it cannot be loaded, ConfigError when it has not so many layers,
    ValueError as `LanguageModel`.
    """
    with torch.random.fork_rng(devices=[]):
        encoder = HfEncoder(source, layers=layers)
        model = LanguageModel(encoder, top)
    if top is None:
        return model, None
    assert encoder.n_layers is not None, "its last layers were found"
    return model, encoder.n_layers - top
