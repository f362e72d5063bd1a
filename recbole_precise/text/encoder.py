"""Text encoders: the last hidden states of batches of texts, through Hugging Face's AutoModel.

Nothing here imports torch or transformers before a model is truly needed, so that a cached run
starts fast.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_precise.errors import ConfigError, TextError, did_you_mean
from recbole_precise.text.sources import VOCABULARIES, EncoderSource, resolve_encoder
from recbole_precise.text.words import WordCounter, WordCounts

if TYPE_CHECKING:
    import torch

__all__ = ["EncoderSource", "HfEncoder", "plan_batches", "resolve_encoder", "torch_dtype_name"]

DTYPES = {
    "float32": "float32",
    "fp32": "float32",
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "fp16": "float16",
    "float16": "float16",
}
_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")


def torch_dtype_name(dtype: str) -> str:
    """Return the torch name of a dtype option (`bf16` -> `bfloat16`).

    Raises ConfigError for an unknown one.
    """
    if str(dtype).lower() not in DTYPES:
        raise ConfigError(
            f"text_dtype: '{dtype}' is not known; use float32, bf16 or "
            f"fp16.{did_you_mean(str(dtype), DTYPES)}"
        )
    return DTYPES[str(dtype).lower()]


class HfEncoder:
    """A Hugging Face encoder or decoder with its tokenizer, from a local folder.

    No code from that folder is run.

    Args:
        source: from `resolve_encoder`.
        dtype: float32, bf16 or fp16, the arithmetic of the model.
        layers: how many of its layers are read, from the first on; None: all. 0 leaves the
            embeddings of tokens and places.
        device: torch device, default the CPU.
        progress: let transformers show its own loading bar.
        raw: states as they enter the layer after the last one read, which is there to be gone on
            with: without the norm that some models put behind their last layer.

    Attributes:
        n_layers: layers that are read; None where they cannot be read in part.

    Raises TextError when the folder cannot be loaded; ConfigError for an unknown dtype, a device
    that is not there, and more layers than the model has.
    """

    def __init__(
        self,
        source: EncoderSource,
        dtype: str = "float32",
        device: object = None,
        progress: bool = False,
        layers: int | None = None,
        raw: bool = False,
    ) -> None:
        import torch

        self.source = source
        self.dtype_name = torch_dtype_name(dtype)
        self.dtype = getattr(torch, self.dtype_name)
        self.device = _torch_device(device)
        self._raw = layers if raw else None
        needed = layers if self._raw is None else self._raw + 1
        self.tokenizer, self.model, there = _load(source, self.dtype, progress, needed)
        self.n_layers = layers if raw else there
        self.model.to(self.device)
        embeddings = self.model.get_input_embeddings()
        self.vocab_size = int(embeddings.weight.shape[0])
        # Tokenizers may bring a padding token that the model has no row for; masked positions can
        # hold any other.
        padding = getattr(self.tokenizer, "pad_token_id", None)
        self.padding_id = padding if padding is not None and padding < self.vocab_size else 0
        self.special_token_ids = tuple(
            i for i in _special_ids(self.tokenizer) if i < self.vocab_size
        )
        self.hidden_size = int(self.encode_batch([np.zeros(1, dtype=np.int32)]).shape[1])

    @property
    def longest(self) -> int | None:
        """Most tokens that the model reads, None when it does not say."""
        config = self.model.config
        limits = [
            limit
            for limit in (
                getattr(config, "max_position_embeddings", None),
                getattr(self.tokenizer, "model_max_length", None),
            )
            if isinstance(limit, int) and 0 < limit < 10**9
        ]
        return min(limits) if limits else None

    def batch_tokens(self, wanted: int) -> int:
        """As `batch_tokens`, on this encoder's device."""
        return batch_tokens(wanted, self.device.type)

    def tokenize(self, texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokenize all texts: ids, int32 [total], and lengths, int64 [N].

        At most max_tokens each.

        As `tokenize_and_count`, without the counts.
        """
        ids, lengths, _ = self.tokenize_and_count(texts, max_tokens)
        return ids, lengths

    def vocabulary_hint(self) -> str:
        """Say what to do when the tokenizer does not know most words."""
        folder = self.source.folder
        if any((folder / name).is_file() for name in VOCABULARIES):
            return "Choose an encoder of the language of the texts, with its own tokenizer."
        return (
            f"The folder {folder} has no tokenizer ({', '.join(VOCABULARIES[:4])}, ...): "
            "put the files of the model's tokenizer beside its weights."
        )

    def tokenize_and_count(
        self, texts: Sequence[str], max_tokens: int
    ) -> tuple[np.ndarray, np.ndarray, WordCounts]:
        """Tokenize all texts, and count their words.

        Gives the token ids, int32 [total], their lengths, int64 [N], and the counts.

        A text that spells a special token ("[SEP]") is read as these characters, not as the token.
        Raises ConfigError when max_tokens leaves no room for text or is more than the model reads,
        TextError when the tokenizer fails or knows tokens that the model does not have.
        """
        around = self.tokenizer.num_special_tokens_to_add(pair=False)
        if max_tokens <= around:
            raise ConfigError(
                f"text_max_tokens: {max_tokens} leaves no room for text, the tokenizer of "
                f"{self.source.name} adds "
                f"{around} tokens of its own; use at least {around + 1}."
            )
        if self.longest is not None and max_tokens > self.longest:
            raise ConfigError(
                f"text_max_tokens: {max_tokens} is more than {self.source.name} reads; use at "
                f"most {self.longest}."
            )
        ids: list[np.ndarray] = []
        lengths: list[int] = []
        counter = WordCounter(self.tokenizer, self.special_token_ids)
        # in parts, which bounds the Python lists, each some 10 times the array
        for first in range(0, len(texts), 8192):
            chunk = list(texts[first : first + 8192])
            try:
                encoded = self.tokenizer(
                    chunk,
                    truncation=True,
                    max_length=max_tokens,
                    padding=False,
                    split_special_tokens=True,
                    return_attention_mask=False,
                    return_token_type_ids=False,
                )
                rows = encoded["input_ids"]
                ids.append(np.fromiter((i for row in rows for i in row), dtype=np.int32))
            except Exception as error:  # libraries below, each with its own errors
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise TextError(
                    f"{self.source.folder}: the tokenizer fails on these texts ({reason}). "
                    f"{self.vocabulary_hint()}"
                ) from error
            lengths.extend(map(len, rows))
            counter.add(chunk, encoded)
        flat = np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32)
        if len(flat) and int(flat.max()) >= self.vocab_size:
            raise TextError(
                f"{self.source.folder}: the tokenizer knows token {int(flat.max())}, but the "
                "model only "
                f"{self.vocab_size} tokens; they do not belong together."
            )
        return flat, np.asarray(lengths, dtype=np.int64), counter.counts()

    def encode_batch(self, token_ids: Sequence[np.ndarray]) -> np.ndarray:
        """Encode a batch of texts to last hidden states, without padding.

        float16 [sum of lengths, hidden].

        `token_ids` holds one int array [length] per text. Padding is on the right and masked, so
        that it changes neither a bidirectional nor a causal model.
        """
        import torch

        lengths = np.asarray([len(ids) for ids in token_ids])
        even = bool((lengths == lengths[0]).all())
        input_ids: np.ndarray
        mask: np.ndarray
        if even:
            input_ids = np.stack(token_ids).astype(np.int64)
            mask = np.ones(input_ids.shape, dtype=np.int64)
        else:
            mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
            input_ids = np.full(mask.shape, self.padding_id, dtype=np.int64)
            input_ids[mask.astype(bool)] = np.concatenate(token_ids)
        on_device = torch.from_numpy(mask).to(self.device)
        with torch.inference_mode():
            try:
                inputs = {
                    "input_ids": torch.from_numpy(input_ids).to(self.device),
                    "attention_mask": on_device,
                }
                output = (
                    self.model(**inputs)
                    if self._raw is None
                    else self.model(**inputs, output_hidden_states=True)
                )
            except (RuntimeError, IndexError, TypeError, ValueError) as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise TextError(
                    f"{self.source.name} fails on {mask.shape[0]} texts of {mask.shape[1]} "
                    f"tokens ({reason}); "
                    "a smaller text_batch_size or text_max_tokens may help."
                ) from error
            states = (
                getattr(output, "last_hidden_state", None)
                if self._raw is None
                else output.hidden_states[self._raw]
            )
            if states is None:
                raise TextError(
                    f"{self.source.folder}: a {type(self.model).__name__} gives no hidden states "
                    "of tokens."
                )
            states = states.flatten(0, 1) if even else states[on_device.bool()]
            limit = torch.finfo(torch.float16).max
            states = states.float()
            finite = bool(torch.isfinite(states).all())
            flat = states.clamp_(-limit, limit).half().cpu().numpy()
        if not finite:
            raise TextError(
                f"{self.source.name} gives states that are not numbers in {self.dtype_name}; set "
                "text_dtype: float32."
            )
        return flat


def batch_tokens(wanted: int, device_type: str) -> int:
    """Return the number of tokens in a batch.

    Those wanted; on a CPU no more than 2,048 a thread (larger ones leave its cache).
    """
    import torch

    return min(wanted, 2048 * torch.get_num_threads()) if device_type == "cpu" else wanted


def plan_batches(lengths: np.ndarray, budget: int, padding: int = 256) -> list[tuple[int, int]]:
    """Cut texts sorted by falling length into batches `(first, last + 1)`.

    A batch holds at most `budget` tokens, its padding included, and at least one text. Texts of
    another length begin a new batch unless that saves no work: padding of up to `padding` tokens
    costs less than a further call of the model. The cuts before position i do not depend on what
    follows, so a run that goes on at a cut makes the same batches.
    """
    batches = []
    first = 0
    waste = 0
    for i in range(1, len(lengths)):
        waste += int(lengths[first] - lengths[i])
        if waste > padding or (i + 1 - first) * int(lengths[first]) > budget:
            batches.append((first, i))
            first = i
            waste = 0
    return [*batches, (first, len(lengths))] if len(lengths) else batches


def _special_ids(tokenizer: Any) -> tuple[int, ...]:
    around = {
        getattr(tokenizer, f"{kind}_token_id", None)
        for kind in ("bos", "eos", "cls", "sep", "pad", "mask")
    }
    ids = set(tokenizer.all_special_ids)
    unknown = getattr(tokenizer, "unk_token_id", None)
    return tuple(sorted(ids - ({unknown} - around)))


def _torch_device(device: Any) -> torch.device:
    import torch

    try:
        found = torch.device("cpu" if device is None else device)
        if found.type != "cpu":
            torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"text_device: '{device}' cannot be used ({reason}); use cpu or a device of this "
            "machine."
        ) from None
    return found


def _with_layers(config, layers: int, source: EncoderSource):
    """Return the model's config with its first `layers` layers alone."""
    there = getattr(config, "num_hidden_layers", None)
    if there is None or getattr(config, "is_encoder_decoder", False):
        raise ConfigError(
            f"text_layers: {source.name} does not say how many layers it has "
            "(num_hidden_layers); leave text_layers out."
        )
    if layers > there:
        raise ConfigError(f"text_layers: {source.name} has {there} layers, not {layers}.")
    config.num_hidden_layers = layers
    return config


def _check_keys(folder: str, info: dict, layers: int | None, whole: bool) -> None:
    """Refuse weights that lack what config.json describes, or have layers that it leaves out."""
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    missing += sorted(str(entry) for entry in info.get("mismatched_keys") or ())
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        named = ", ".join(f"'{key}'" for key in missing[:5]) + more
        raise TextError(
            f"{folder}: the weights do not fit config.json: {named} would be random. "
            "Put the weights and the config.json of one model into the folder."
        )
    if not whole or layers is None:
        return
    numbers = [int(n) for key in info["unexpected_keys"] for n in _LAYER.findall(key)[:1]]
    if numbers and max(numbers) >= layers:
        raise TextError(
            f"{folder}: the weights do not fit config.json: they have {max(numbers) + 1} layers, "
            f"and config.json (num_hidden_layers) says {layers}. To read the first layers alone, "
            "set text_layers."
        )


def _load(source: EncoderSource, dtype, progress: bool, layers: int | None = None):
    """Load tokenizer and model of a folder; of a model with a decoder its encoder.

    Gives (tokenizer, model with its first `layers` layers or all, how many it has or None).
    """
    if importlib.util.find_spec("transformers") is None:
        raise TextError("Encoding text needs the package transformers; `pip install transformers`.")
    import transformers
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging

    folder = str(source.folder)
    new = tuple(int(part) for part in transformers.__version__.split(".")[:2]) >= (4, 56)
    options = {"local_files_only": True, "trust_remote_code": False}
    bar = logging.is_progress_bar_enabled()
    level = logging.get_verbosity()
    if not progress:
        logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        if layers is not None:
            options["config"] = _with_layers(
                AutoConfig.from_pretrained(folder, **options), layers, source
            )
        options |= {"dtype" if new else "torch_dtype": dtype, "output_loading_info": True}
        try:
            model, info = AutoModel.from_pretrained(folder, attn_implementation="sdpa", **options)
        except ValueError as error:
            if "attention" not in str(error).lower():
                raise
            model, info = AutoModel.from_pretrained(folder, **options)
    except ConfigError:
        raise
    # many libraries below, each with its own errors; all mean that the folder is unusable
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TextError(f"{folder}: transformers cannot load this model ({reason}).") from error
    finally:
        if bar:
            logging.enable_progress_bar()
        logging.set_verbosity(level)
    tokenizer.truncation_side = "right"
    described = getattr(model.config, "num_hidden_layers", None)
    _check_keys(folder, info, described, whole=layers is None)
    there = getattr(model.config, "num_hidden_layers", None)
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
        there = None
    model.config.use_cache = False  # keys and values of the past are of no use here
    return tokenizer, model.eval().requires_grad_(False), there
