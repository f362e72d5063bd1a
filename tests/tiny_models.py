"""Tiny models with random weights, saved as any Hugging Face folder is."""

from __future__ import annotations

from pathlib import Path

WORDS = [
    "toy",
    "story",
    "golden",
    "eye",
    "heat",
    "the",
    "of",
    "star",
    "wars",
    "salt",
    "sugar",
    "tea",
    "pack",
    "ounce",
    "great",
    "value",
    "None",
    "NA",
    "1995",
    "(",
    ")",
    "[",
    "]",
]


def _save(folder: Path, tokenizer, config, seed: int) -> Path:
    import torch
    from transformers import AutoModel

    torch.manual_seed(seed)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_bert(folder: Path, seed: int = 0) -> Path:
    """A bidirectional encoder with a WordPiece tokenizer that adds [CLS] and [SEP]."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(97, 123)] + list("0123456789")
    vocabulary = special + [w.lower() for w in WORDS] + letters + [f"##{c}" for c in letters]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(vocabulary))}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {f"{n}_token": f"[{n.upper()}]" for n in ("pad", "unk", "cls", "sep", "mask")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=64, **names)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    return _save(folder, tokenizer, config, seed)


def build_decoder(folder: Path, kind: str, seed: int = 0) -> Path:
    """A causal model of Qwen2's or Llama's kind, with a byte-level tokenizer that has no padding
    token.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import LlamaConfig, PreTrainedTokenizerFast, Qwen2Config

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {c: i for i, c in enumerate(["<s>", "</s>", *alphabet])}
    core = Tokenizer(models.BPE(vocabulary, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    if kind == "llama":
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    assert tokenizer.pad_token is None
    config = (LlamaConfig if kind == "llama" else Qwen2Config)(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        pad_token_id=None,
        bos_token_id=0,
        eos_token_id=1,
    )
    return _save(folder, tokenizer, config, seed)
