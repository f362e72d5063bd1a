"""Sequence encoders for item vectors of any origin.

Our transformer, and RecBole's sequential models without their item tables.

A model of RecBole is built as it is; then its `item_embedding` is put away, and what is there
instead hands out the item vectors that the sequence was given with. Its parameters, its forward
pass and its dropout are RecBole's own (docs/pad.md).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn

from recbole_precise import registry
from recbole_precise.errors import ConfigError, did_you_mean
from recbole_precise.models.base import build_transformer
from recbole_precise.plugin.checks.known_keys import keys_of_model

OWN = "transformer"

#: Settings of ours that a model of RecBole reads by the same name with the same meaning.
_SHARED = (
    "n_layers",
    "n_heads",
    "inner_size",
    "hidden_dropout_prob",
    "attn_dropout_prob",
    "initializer_range",
    "layer_norm_eps",
    "hidden_act",
)
#: What a model's forward may ask for, by the names in use among RecBole's models.
_ITEMS = ("item_seq", "seq_item")
_LENGTHS = ("item_seq_len", "seq_item_len")
_USERS = ("user", "user_id")


class Histories(NamedTuple):
    """A batch of right-padded sequences.

    int64 `items [batch, length]`, `lengths [batch]` of at least 1, `users [batch]`.
    """

    items: Tensor
    lengths: Tensor
    users: Tensor

    @property
    def mask(self) -> Tensor:
        """True at real positions: bool `[batch, length]`."""
        return torch.arange(self.items.shape[1], device=self.items.device) < self.lengths[:, None]


class Backbone(nn.Module):
    """Base of what encodes sequences of given item vectors.

    Attributes:
        causal: whether the states of a window are those of its prefixes; then all positions are
            trained in one pass, else one row per target.
    """

    causal: bool

    def states(self, vectors: Tensor, histories: Histories) -> Tensor:
        """Encode `vectors [batch, length, width]` to the states of every position, same shape.

        Zero, or anything, where padded. For causal backbones.
        """
        raise NotImplementedError

    def last(self, vectors: Tensor, histories: Histories) -> Tensor:
        """Encode `vectors [batch, length, width]` to the state after each row's last item.

        Returns:
            `[batch, width]`.
        """
        raise NotImplementedError


class OwnTransformer(Backbone):
    """Our causal transformer (`nn/sequence_encoders.py`), which computes nothing for padding."""

    causal = True

    def __init__(self, width: int, config) -> None:
        super().__init__()
        self.encoder = build_transformer(config, width)
        for module in self.encoder.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=config["initializer_range"])
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def states(self, vectors: Tensor, histories: Histories) -> Tensor:
        """Encode every position; see `Backbone.states`."""
        return self.encoder(vectors, histories.mask)

    def last(self, vectors: Tensor, histories: Histories) -> Tensor:
        """Encode the last position; see `Backbone.last`."""
        return self.encoder.user_vector(vectors, histories.mask)


class _GivenVectors(nn.Module):
    """Stands where a model has its item table: gives the vectors of the sequence at hand."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.items: Tensor | None = None
        self.vectors: Tensor | None = None

    def forward(self, items: Tensor) -> Tensor:
        assert self.items is not None and self.vectors is not None, "vectors are given by a call"
        if items is not self.items and not (
            items.shape == self.items.shape and torch.equal(items, self.items)
        ):
            raise ConfigError(
                f"backbone {self.name} looks up other items than those of the sequence, so it "
                "cannot be given their vectors."
            )
        return self.vectors

    @property
    def weight(self) -> Tensor:
        raise ConfigError(
            f"backbone {self.name} reads its whole item table inside its forward, so it cannot "
            "be given item vectors."
        )


class _Settings(Mapping):
    """What a model of RecBole reads.

    The backbone's own settings, then ours where they mean the same, then RecBole's defaults, then
    the run's.
    """

    def __init__(self, own: Mapping[str, Any], defaults: Mapping[str, Any], config) -> None:
        self.own = own
        self.defaults = defaults
        self.config = config

    def __getitem__(self, key: str) -> Any:
        if key in self.own:
            return self.own[key]
        if key in self.defaults and key in _SHARED and self.config[key] is not None:
            return self.config[key]
        return self.defaults[key] if self.defaults.get(key) is not None else self.config[key]

    def __iter__(self):
        return iter({**self.defaults, **self.own})

    def __len__(self) -> int:
        return len({**self.defaults, **self.own})


class RecBoleBackbone(Backbone):
    """A sequential model of RecBole that encodes given item vectors.

    Attributes:
        causal: whether the states of a window are those of its prefixes, which is tried out when it
            is built; then all positions are trained in one pass, else one row per target.

    Raises ConfigError when the model cannot be wrapped, with what it would need.
    """

    def __init__(self, name: str, width: int, config, dataset, own: Mapping[str, Any]) -> None:
        super().__init__()
        entry = registry.resolve(name)
        cls = entry.load()
        if entry.ours or not issubclass(cls, SequentialRecommender):
            raise ConfigError(
                f"backbone must be {OWN} or a sequential model of RecBole such as SASRec, "
                f"GRU4Rec or Caser, not {entry.name}."
            )
        defaults = keys_of_model(entry, cls)
        for key in own:
            if key not in defaults:
                raise ConfigError(
                    f"backbone_settings: {entry.name} reads no key "
                    f"'{key}'.{did_you_mean(key, defaults)}"
                )
        self.name = entry.name
        self.max_length = config["MAX_ITEM_LIST_LENGTH"]
        self.width = width
        size = "embedding_size" if defaults.get("embedding_size") else "hidden_size"
        settings = _Settings(
            {
                "loss_type": "CE",
                "inner_size": config["inner_size"] or 4 * width,
                **own,
                size: width,
            },
            defaults,
            config,
        )
        self.arguments = self._arguments(cls)
        try:
            self.model = cls(settings, dataset)
        except Exception as error:
            raise ConfigError(
                f"backbone {self.name} cannot be built with an item vector of width {width}: "
                f"{error}. Its own keys go into backbone_settings."
            ) from error
        table = getattr(self.model, "item_embedding", None)
        if not isinstance(table, nn.Embedding) or tuple(table.weight.shape) != (
            dataset.item_num,
            width,
        ):
            raise ConfigError(
                f"backbone {self.name} has no `item_embedding` of {dataset.item_num} items x "
                f"{width}, whose place the item vectors could take."
            )
        self.model.item_embedding = self.given = _GivenVectors(self.name)
        self.causal = self._probe()

    def _arguments(self, cls: type[nn.Module]) -> list[tuple[str, str]]:
        """List what the model's forward asks for, in its order: items, lengths or users."""
        asked = []
        for parameter in list(inspect.signature(cls.forward).parameters.values())[1:]:
            kind = next(
                (known[0] for known in (_ITEMS, _LENGTHS, _USERS) if parameter.name in known), None
            )
            if kind is None and parameter.default is inspect.Parameter.empty:
                raise ConfigError(
                    f"backbone {self.name} cannot be wrapped: its forward asks for "
                    f"'{parameter.name}', and a backbone knows a user's items, their number and "
                    "the user alone."
                )
            if kind is not None:
                asked.append((parameter.name, kind))
        return asked

    def _call(self, vectors: Tensor, histories: Histories) -> Tensor:
        given = {
            "item_seq": histories.items,
            "item_seq_len": histories.lengths,
            "user": histories.users,
        }
        self.given.items = histories.items
        self.given.vectors = vectors * histories.mask[..., None]
        try:
            return self.model(**{name: given[kind] for name, kind in self.arguments})
        finally:
            self.given.items = self.given.vectors = None

    def states(self, vectors: Tensor, histories: Histories) -> Tensor:
        """Encode every position; see `Backbone.states`."""
        # instead of picking the last position
        self.model.gather_indexes = lambda output, index: output
        try:
            return self._call(vectors, histories)
        finally:
            del self.model.gather_indexes

    def last(self, vectors: Tensor, histories: Histories) -> Tensor:
        """Encode the last position; see `Backbone.last`."""
        # the form in which RecBole gives rows to it: convolutions may want that length
        if not self.causal:
            missing = self.max_length - histories.items.shape[1]
            histories = histories._replace(items=F.pad(histories.items, (0, missing)))
            vectors = F.pad(vectors, (0, 0, 0, missing))
        return self._call(vectors, histories)

    @torch.no_grad()
    def _probe(self) -> bool:
        """Whether a window's states are its prefixes' own.

        ConfigError when the model does not give a state of the width at all.
        """
        training = self.training
        self.eval()
        length = min(5, self.max_length)
        vectors = torch.randn(
            1, self.max_length, self.width, generator=torch.Generator().manual_seed(0)
        )
        items = F.pad(torch.arange(1, length + 1)[None] % 2 + 1, (0, self.max_length - length))
        rows = [
            Histories(
                torch.where(torch.arange(self.max_length) < n, items, 0),
                torch.tensor([n]),
                torch.ones(1, dtype=torch.int64),
            )
            for n in range(1, length + 1)
        ]
        self.causal = False
        try:
            alone = [self.last(vectors, row) for row in rows]
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"backbone {self.name} cannot be given item vectors: {error}."
            ) from error
        if any(tuple(state.shape) != (1, self.width) for state in alone):
            raise ConfigError(
                f"backbone {self.name} ends in a state of shape {list(alone[0].shape[1:])}, not "
                f"of an item vector's width {self.width}."
            )
        try:
            cut = rows[-1]._replace(items=items[:, :length])
            both = [self.states(vectors, rows[-1]), self.states(vectors[:, :length], cut)]
        except Exception:
            both = []
        self.train(training)
        prefixes = torch.stack(alone, 1)
        return bool(both) and all(
            part.dim() == 3
            and part.shape[2] == self.width
            and torch.allclose(part[:, :length], prefixes, atol=1e-4)
            for part in both
        )


def build_backbone(config, dataset, width: int) -> Backbone:
    """Build the encoder that `backbone` and `backbone_settings` name.

    For item vectors of `width`.

    Raises ConfigError for a model that cannot be wrapped.
    """
    own = config["backbone_settings"] or {}
    if config["backbone"].lower() == OWN:
        if own:
            raise ConfigError(
                f"backbone_settings are for models of RecBole; the {OWN} reads n_layers, "
                "n_heads, inner_size and the dropouts themselves."
            )
        return OwnTransformer(width, config)
    return RecBoleBackbone(config["backbone"], width, config, dataset, own)
