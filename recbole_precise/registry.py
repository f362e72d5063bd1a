"""Models by name: ours, with their variants, and every model of RecBole.

Names are told apart neither by case nor by hyphens and underscores. A class is imported when it is
asked for; `plugin.hooks` makes ours known to RecBole's own scripts.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recbole_precise.errors import ConfigError, did_you_mean
from recbole_precise.system.importing import load_target

_RECBOLE_KINDS = ("general", "context_aware", "sequential", "knowledge_aware", "exlib")


@dataclass(frozen=True)
class Entry:
    """A model: its `name`, its class as 'module:Class', and what sets a variant apart.

    `settings` names the model whose properties/model/<settings>.yaml holds the defaults, `preset`
    what the variant changes in them. `stock` is whether RecBole's own scripts know the name.
    `ours` is false for RecBole's models. `about` says in a line what the model is.
    """

    name: str
    target: str
    settings: str
    preset: Mapping[str, object] = field(default_factory=dict)
    stock: bool = True
    ours: bool = True
    about: str = ""

    def load(self) -> type:
        """The model class."""
        try:
            return load_target(self.target)
        except ModuleNotFoundError as error:
            if self.ours or error.name is None or error.name.startswith("recbole"):
                raise
            raise ConfigError(
                f"Model {self.name} of RecBole needs the package '{error.name}', which is not "
                f"installed: pip install {error.name}."
            ) from error


def _precise(name: str, about: str, **preset: object) -> Entry:
    model = "recbole_precise.models.precise:PRECISEUT"
    return Entry(name, model, "PRECISE-UT", preset, about=about)


def _floor(name: str, about: str, stock: bool = True) -> Entry:
    return Entry(name, f"recbole_precise.models.baselines:{name}", name, stock=stock, about=about)


#: Our models. RecBole has a `Pop` of its own, outside the sequential models: its scripts keep it,
#: ours mean the floor.
ENTRIES: tuple[Entry, ...] = (
    _precise(
        "PRECISE-UT",
        "PRECISE after universal training: ID and text of an item fused by experts, a causal "
        "transformer",
    ),
    _precise("PRECISE-ID", "PRECISE-UT without texts", variant="id"),
    _precise("PRECISE-LLM", "PRECISE-UT without IDs", variant="llm"),
    _precise(
        "PRECISE-Pool",
        "PRECISE-UT with the mean of an item's tokens in the place of experts",
        variant="pool",
    ),
    Entry(
        "PRECISE-TT",
        "recbole_precise.models.precise_targeted:PRECISETT",
        "PRECISE-TT",
        about="PRECISE's targeted training alone",
    ),
    Entry(
        "PRECISE",
        "recbole_precise.models.precise_targeted:PRECISE",
        "PRECISE-TT",
        about="universal, then targeted training, in one run",
    ),
    Entry(
        "PAD",
        "recbole_precise.models.pad:PAD",
        "PAD",
        about="pre-train, align and disentangle: experts of ID, text and both behind a gate, "
        "over any backbone",
    ),
    Entry(
        "Hybrid",
        "recbole_precise.models.rivals.pad_rivals:Hybrid",
        "Hybrid",
        about="ID and text in one item vector, without alignment",
    ),
    Entry(
        "MoRec",
        "recbole_precise.models.rivals.pad_rivals:MoRec",
        "MoRec",
        about="the text in the place of the ID",
    ),
    Entry(
        "CTRL",
        "recbole_precise.models.rivals.pad_rivals:CTRL",
        "CTRL",
        about="ID and text aligned by InfoNCE, then trained to recommend",
    ),
    Entry(
        "MAKE",
        "recbole_precise.models.rivals.pad_rivals:MAKE",
        "MAKE",
        about="an expert of texts trained first, then one of IDs beside it",
    ),
    Entry(
        "DisCo",
        "recbole_precise.models.rivals.disco:DisCo",
        "DisCo",
        about="what ID and text share and what each has alone, in four parts of an item",
    ),
    Entry(
        "SMEM",
        "recbole_precise.models.rivals.pad_rivals:SMEM",
        "PAD",
        {"align": "none"},
        about="PAD without alignment",
    ),
    Entry(
        "LLM-ESR",
        "recbole_precise.models.rivals.llm_esr:LLMESR",
        "LLM-ESR",
        about="two views of an item under one encoder, and distillation from similar users",
    ),
    Entry(
        "SASRec-CE",
        "recbole_precise.models.sasrec:SASRecCE",
        "SASRec-CE",
        about="SASRec with the softmax over all items, trained at all positions",
    ),
    Entry(
        "SASRec-Decoupled",
        "recbole_precise.models.sasrec:SASRecCE",
        "SASRec-CE",
        {"decouple_tables": True},
        about="SASRec-CE with one item table for histories and one for scores",
    ),
    Entry(
        "SASRec-Sampled",
        "recbole_precise.models.sasrec:SASRecSampled",
        "SASRec-Sampled",
        about="SASRec with sampled negatives and cosine scores",
    ),
    Entry(
        "gSASRec",
        "recbole_precise.models.rivals.gsasrec:GSASRec",
        "gSASRec",
        about="SASRec with many negatives and a calibrated binary cross entropy",
    ),
    Entry(
        "GRU4Rec-CE",
        "recbole_precise.models.gru4rec:GRU4RecCE",
        "GRU4Rec-CE",
        about="GRU4Rec with the softmax over all items, trained at all positions",
    ),
    Entry(
        "SASRec-Text",
        "recbole_precise.models.sasrec_text:SASRecText",
        "SASRec-Text",
        about="SASRec-CE over ID and text vectors, added",
    ),
    Entry(
        "SASRec-Text-Concat",
        "recbole_precise.models.sasrec_text:SASRecText",
        "SASRec-Text",
        {"text_join": "concat"},
        about="SASRec-CE over ID and text vectors, side by side",
    ),
    Entry(
        "SASRec-Codes",
        "recbole_precise.models.sasrec_text:SASRecText",
        "SASRec-Text",
        {"text_form": "codes"},
        about="SASRec-CE over ID vectors and semantic codes of the texts",
    ),
    Entry(
        "HSTU",
        "recbole_precise.models.hstu:HSTU",
        "HSTU",
        about="pointwise attention with relative positions and times",
    ),
    Entry(
        "LEARN",
        "recbole_precise.models.rivals.learn:LEARN",
        "LEARN",
        about="frozen text vectors through one transformer for users and items",
    ),
    Entry(
        "HLLM-Cached",
        "recbole_precise.models.rivals.hllm:HLLMCached",
        "HLLM-Cached",
        about="HLLM's user model over cached text vectors",
    ),
    Entry(
        "HLLM-Top",
        "recbole_precise.models.rivals.hllm:HLLMTop",
        "HLLM-Top",
        about="HLLM that trains the last layers of its text model",
    ),
    Entry(
        "HLLM-Full",
        "recbole_precise.models.rivals.hllm:HLLMFull",
        "HLLM-Full",
        about="HLLM that trains its whole text model",
    ),
    _floor("Pop", "popularity: the number of an item's training events", stock=False),
    _floor("Transition", "how often an item came right after the user's last one"),
    _floor("GraphHeuristic", "transitions in both directions, joined with the likeness of texts"),
    Entry(
        "GraphForward",
        "recbole_precise.models.baselines:GraphHeuristic",
        "GraphHeuristic",
        {"graph_variant": "forward"},
        about="GraphHeuristic in the user's direction alone",
    ),
)


def plain(name: str) -> str:
    """Drop what does not tell names apart: case, hyphens, underscores and blanks."""
    return re.sub(r"[-_\s]", "", name).lower()


#: This package's models by plain name.
OURS = {plain(entry.name): entry for entry in ENTRIES}


@functools.cache
def _recbole_models() -> dict[str, Entry]:
    """RecBole's models by plain name, read from its files: importing them all would take
    seconds.
    """
    spec = importlib.util.find_spec("recbole")
    if spec is None or not spec.submodule_search_locations:
        return {}
    found: dict[str, Entry] = {}
    for kind in _RECBOLE_KINDS:
        folder = Path(spec.submodule_search_locations[0], "model", f"{kind}_recommender")
        for file in sorted(folder.glob("*.py")):
            for name in re.findall(
                r"^class (\w+)", file.read_text(encoding="utf-8"), flags=re.MULTILINE
            ):
                if name.lower() == file.stem:
                    target = f"recbole.model.{kind}_recommender.{file.stem}:{name}"
                    found.setdefault(
                        plain(name), Entry(name, target, name, stock=False, ours=False)
                    )
    return found


def model_names() -> list[str]:
    """Every name that `resolve` knows, ours first."""
    return [entry.name for entry in ENTRIES] + [
        entry.name for key, entry in _recbole_models().items() if key not in OURS
    ]


#: Models that train nothing.
FLOORS = ("Pop", "Transition", "GraphHeuristic", "GraphForward")


def models_by_group() -> dict[str, list[Entry]]:
    """Every model under a heading: ours, the floors among them, and RecBole's by kind.

    Nothing is imported.
    """
    groups = {
        "Models of this package": [entry for entry in ENTRIES if entry.name not in FLOORS],
        "Floors, which train nothing": [entry for entry in ENTRIES if entry.name in FLOORS],
    }
    for kind in _RECBOLE_KINDS:
        entries = [
            entry
            for key, entry in _recbole_models().items()
            if f".{kind}_recommender." in entry.target and key not in OURS
        ]
        groups[
            f"RecBole's models, {kind.replace('exlib', 'of other libraries').replace('_', ' ')}"
        ] = sorted(entries, key=lambda entry: entry.name.lower())
    return groups


def sequential_names() -> list[str]:
    """RecBole's sequential models."""
    return [
        entry.name
        for entry in _recbole_models().values()
        if ".sequential_recommender." in entry.target
    ]


def find(name: str) -> Entry | None:
    """The entry of a model name, or None."""
    return OURS.get(plain(name)) or _recbole_models().get(plain(name))


def resolve(name: str) -> Entry:
    """The entry of a model name; a ConfigError with the nearest name when there is none."""
    entry = find(name)
    if entry is None:
        nearest = did_you_mean(name, model_names())
        ours = ", ".join(entry.name for entry in ENTRIES)
        raise ConfigError(f"Unknown model '{name}'.{nearest or f' Ours are: {ours}.'}")
    return entry


def entry_of_class(cls: type) -> Entry:
    """The entry of a model class.

    For a class that is neither ours nor RecBole's one that stands for it.
    """
    entry = find(cls.__name__)
    if entry is not None and entry.target == f"{cls.__module__}:{cls.__qualname__}":
        return entry
    return Entry(
        cls.__name__, f"{cls.__module__}:{cls.__qualname__}", cls.__name__, stock=False, ours=False
    )


def get_model(model_name: str) -> type:
    """The class of a model by name; takes the place of `recbole.utils.get_model`."""
    return resolve(model_name).load()
