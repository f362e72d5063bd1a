"""Item vectors from a language model that is trained with the recommender.

Each item is read once a step, the catalogue once an evaluation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from recbole_precise.nn.cached_catalogue import CachedCatalogue
from recbole_precise.nn.item_encoders import ItemEncoder, ItemPart, Words, members
from recbole_precise.nn.text_vectors import FrozenText, TextVectors
from recbole_precise.text.encoder import batch_tokens, plan_batches
from recbole_precise.text.language_model import LanguageModel
from recbole_precise.text.states import TokenStates

_SAME = 0.05  # of the vectors' root mean square: what rounding to float16 may change in a vector


class LearningText(FrozenText):
    """The mean last state of each item's tokens under a language model that is trained.

    Centred by where the untrained model had its mean.

    What is inherited, `vectors`, are those of the untrained model: the linear map behind begins on
    their directions.

    Args:
        tokens: last states of the untrained encoder, with the tokens that its tokenizer adds: these
            are read but have no part in the mean.
        language: the model.
        below: the states that enter its layers, for the same tokens; None where it reads token ids.
        read_below: the same for tokens of new items, a list of int arrays -> float16 `[tokens,
            hidden]`.
        batch: tokens that it reads at once, padding included; fewer on a CPU.

    Raises ValueError when what the model says of the states below is not what the whole encoder
    says of the texts.
    """

    def __init__(
        self, tokens: TokenStates, language: LanguageModel, below: TokenStates | None = None,
        read_below: Callable[[Sequence[np.ndarray]], np.ndarray] | None = None, *,
        batch: int = 2048,
    ) -> None:  # fmt: skip
        super().__init__(tokens.without_special().pooled(), scaled=False)
        self.language = language
        self.batch = batch
        self._read_below = read_below
        self.special = torch.tensor(tokens.special_token_ids, dtype=torch.int64)
        self.token_ids = torch.from_numpy(tokens.token_ids.astype(np.int64))
        self.offsets = torch.from_numpy(np.asarray(tokens.offsets, dtype=np.int64))
        # stays in the file that it is mapped from
        self.below = None if below is None else below.states
        if self.below is not None:
            self._check()

    @torch.no_grad()
    def _check(self) -> None:
        some = torch.nonzero(self.has_text).squeeze(1)[:4]
        expected = self.vectors[some]
        if not torch.allclose(
            self.rows(some), expected, rtol=0, atol=_SAME * float(expected.pow(2).mean().sqrt())
        ):
            kind = type(self.language.model).__name__
            raise ValueError(
                f"the last layers of this encoder, a {kind}, do not go on from the states of the "
                "layers below as the whole does; train all of it"
            )

    def rows(self, item_ids: Tensor | None) -> Tensor:
        """Encode `item_ids [n]`, or all items for None: `[n, hidden]`.

        The vectors have a gradient to the language model.
        """
        has_text = self.has_text if item_ids is None else self.has_text[item_ids]
        device = has_text.device
        place = torch.nonzero(has_text).squeeze(1)
        items = (place if item_ids is None else item_ids[place]).cpu()
        out = torch.zeros(len(has_text), self.hidden_size, device=device)
        if not len(items):
            return out
        lengths = (self.offsets[items + 1] - self.offsets[items]).numpy()
        order = np.argsort(-lengths, kind="stable")
        means = [
            self._means(items[order[first:last]], device)
            for first, last in plan_batches(lengths[order], batch_tokens(self.batch, device.type))
        ]
        centred = (torch.cat(means) - self.mean.to(device)) / self.scale.to(device)
        return out.index_put((place[torch.from_numpy(order).to(device)],), centred)

    def _means(self, items: Tensor, device: torch.device) -> Tensor:
        """Average the last states of the tokens of `items [n]`: `[n, hidden]`.

        Tokens that the tokenizer adds are left out.
        """
        begin = self.offsets[items]
        length = self.offsets[items + 1] - begin
        mask = torch.arange(int(length.max())) < length[:, None]
        row = (begin[:, None] + torch.arange(mask.shape[1]))[mask]
        ids = torch.full(mask.shape, self.language.padding_id)
        ids[mask] = self.token_ids[row]
        tokens = ids
        if self.below is not None:
            tokens = torch.zeros(*mask.shape, self.below.shape[1])
            tokens[mask] = torch.from_numpy(self.below[row.numpy()]).float()
        kept = (mask & ~torch.isin(ids, self.special)).to(device, torch.float32)
        states = self.language(tokens.to(device), mask.to(device)).float()
        return (states * kept[..., None]).sum(1) / kept.sum(1, keepdim=True)

    def extend_tokens(
        self, states: np.ndarray, token_ids: np.ndarray, offsets: np.ndarray
    ) -> Tensor:
        """Add items by their tokens, `states` the untrained encoder's.

        Bool `[new]`, which of them have a text.
        """
        new = TokenStates(
            states,
            token_ids,
            offsets[:-1],
            np.diff(offsets),
            vocab_size=int(token_ids.max(initial=0)) + 1,
            special_token_ids=self.special.tolist(),
        )
        has_text = self.extend(new.without_special().pooled())
        if self.below is not None and len(token_ids):
            assert self._read_below is not None, "states below come with a way to read them"
            texts = np.split(np.asarray(token_ids), offsets[1:-1])
            self.below = np.concatenate(
                [self.below, self._read_below([text for text in texts if len(text)])]
            )
        self.token_ids = torch.cat(
            [self.token_ids, torch.from_numpy(np.asarray(token_ids).astype(np.int64))]
        )
        self.offsets = torch.cat(
            [
                self.offsets,
                self.offsets[-1] + torch.from_numpy(np.asarray(offsets[1:], dtype=np.int64)),
            ]
        )
        return has_text


class LearningTextVectors(TextVectors):
    """Texts under a trained language model through a linear map.

    These are `TextVectors` whose `text` is a `LearningText`.
    """

    text: LearningText

    def extend(self, count: int, words: Words | None = None) -> Tensor:
        """Add items that were never trained, by all their tokens.

        Those that the tokenizer adds are among them.
        """
        assert words is not None, "new items are read by their texts"
        return self.text.extend_tokens(*words)


class LearningItems(ItemEncoder):
    """An item encoder whose items are expensive.

    Each is encoded once a step, and without a gradient the catalogue once until a weight changes.
    """

    def __init__(self, part: ItemPart, n_items: int) -> None:
        super().__init__([part], n_items)
        # within a step: place of each item among them or -1 [items], vectors [n, width]
        self._encoded: tuple[Tensor, Tensor] | None = None
        self._all = CachedCatalogue()

    @contextlib.contextmanager
    def one_step(self) -> Iterator[None]:
        """Within it every item is encoded at most once.

        Its vectors carry one gradient for all their uses.
        """
        device = next(self.parameters()).device
        self._encoded = (
            torch.full((self.n_items,), -1, device=device),
            torch.empty(0, self.width, device=device),
        )
        try:
            yield
        finally:
            self._encoded = None

    def _rows(self, item_ids: Tensor | None) -> Tensor:
        # unlike sums over a token table, a language model gains from the autocast of the step
        (part,) = members(self.parts, ItemPart)
        return part.rows(item_ids).float()

    def forward(self, item_ids: Tensor) -> Tensor:
        """As `ItemEncoder.forward`."""
        if self._encoded is None:
            return self.all_items()[item_ids] if self._remembers else super().forward(item_ids)
        place, vectors = self._encoded
        fresh = torch.unique(item_ids)
        fresh = fresh[place[fresh] < 0]
        if len(fresh):
            place = place.index_put(
                (fresh,), torch.arange(len(fresh), device=place.device) + len(vectors)
            )
            vectors = torch.cat([vectors, self._rows(fresh)])
            if torch.is_grad_enabled():
                self._encoded = (place, vectors)
        return vectors[place[item_ids]]

    def all_items(self) -> Tensor:
        """Vectors of the whole catalogue: `[items, width]`.

        Where no gradient is asked for they are kept until a weight changes.
        """
        if not self._remembers:
            return super().all_items()
        return self._all.get(self.parameters(), super().all_items, also=self.n_items)

    @property
    def _remembers(self) -> bool:
        return not (self.training or torch.is_grad_enabled())
