"""Models by name: ours, with their variants, and every model of RecBole.

Names are distinguished neither by case nor by hyphens and underscores. A class is imported when it
is asked for; `plugin.hooks` makes ours known to RecBole's own scripts.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import re
import sys
import traceback
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recbole_precise.errors import ConfigError, did_you_mean
from recbole_precise.system.importing import load_target

#: Entry points through which an installed package offers its models: name = "module:Class".
ENTRY_POINTS = "recbole_precise.models"
_FILE_MODULE = "recbole_precise_model_"
_RECBOLE_KINDS = ("general", "context_aware", "sequential", "knowledge_aware", "exlib")


@dataclass(frozen=True)
class Entry:
    """A model: its `name`, its class as 'module:Class', and what sets a variant apart.

    `settings` names the model whose properties/model/<settings>.yaml holds the defaults, `preset`
    what the variant changes in them. `stock` is whether RecBole's own scripts know the name.
    `ours` is false for RecBole's models. `about` says in a line what the model is. `source` is
    where another process finds a model from outside the package, and `cls` its class.
    """

    name: str
    target: str
    settings: str
    preset: Mapping[str, object] = field(default_factory=dict)
    stock: bool = True
    ours: bool = True
    about: str = ""
    source: str | None = None
    cls: type | None = None

    def load(self) -> type:
        """Return the model class."""
        if self.cls is not None:
            return self.cls
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


#: Settings classes of our models, by the name that `Entry.settings` gives.
SETTINGS: dict[str, str] = {
    "SASRec-CE": "recbole_precise.models.settings.sasrec:SASRecCESettings",
    "SASRec-Sampled": "recbole_precise.models.settings.sasrec:SASRecSampledSettings",
    "SASRec-Text": "recbole_precise.models.settings.sasrec_text:SASRecTextSettings",
    "GRU4Rec-CE": "recbole_precise.models.settings.gru4rec:GRU4RecCESettings",
    "HSTU": "recbole_precise.models.settings.hstu:HSTUSettings",
    "PRECISE-UT": "recbole_precise.models.settings.precise:PRECISEUTSettings",
    "PRECISE-TT": "recbole_precise.models.settings.precise_targeted:PRECISETTSettings",
    "PAD": "recbole_precise.models.settings.pad:PADSettings",
    "Pop": "recbole_precise.models.settings.baselines:PopSettings",
    "Transition": "recbole_precise.models.settings.baselines:TransitionSettings",
    "GraphHeuristic": "recbole_precise.models.settings.baselines:GraphHeuristicSettings",
    "CTRL": "recbole_precise.models.settings.pad_rivals:CTRLSettings",
    "Hybrid": "recbole_precise.models.settings.pad_rivals:HybridSettings",
    "MAKE": "recbole_precise.models.settings.pad_rivals:MAKESettings",
    "MoRec": "recbole_precise.models.settings.pad_rivals:MoRecSettings",
    "DisCo": "recbole_precise.models.settings.disco:DisCoSettings",
    "LLM-ESR": "recbole_precise.models.settings.llm_esr:LLMESRSettings",
    "HLLM-Cached": "recbole_precise.models.settings.hllm:HLLMCachedSettings",
    "HLLM-Full": "recbole_precise.models.settings.hllm:HLLMFullSettings",
    "HLLM-Top": "recbole_precise.models.settings.hllm:HLLMTopSettings",
    "LEARN": "recbole_precise.models.settings.learn:LEARNSettings",
    "gSASRec": "recbole_precise.models.settings.gsasrec:GSASRecSettings",
}


#: Settings classes of models from outside the package.
SETTINGS_OF_OUTSIDE: dict[str, type] = {}


def plain(name: str) -> str:
    """Drop what does not distinguish names: case, hyphens, underscores and blanks."""
    return re.sub(r"[-_\s]", "", name).lower()


#: Models that came from outside the package, by plain name.
_outside: dict[str, Entry] = {}

#: This package's models by plain name.
OURS = {plain(entry.name): entry for entry in ENTRIES}


@functools.cache
def _recbole_models() -> dict[str, Entry]:
    """Return RecBole's models by plain name, read from its files.

    Importing them all would take seconds.
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
    """Return the entry of a model name, or None."""
    key = plain(name)
    return OURS.get(key) or _outside.get(key) or _recbole_models().get(key)


def resolve(name: str) -> Entry:
    """Return the entry of a model.

    Args:
        name: a name of ours or of RecBole's, that of an entry point of the group
            `recbole_precise.models`, or `path/to/file.py:Class` or `package.module:Class`.

    Raises:
        ConfigError: there is no such model; with the nearest name.
    """
    if ":" in name:
        return register_class(class_at(name), source_of_spec(name))
    entry = find(name)
    if entry is not None:
        return entry
    installed = installed_models()
    for known, target in installed.items():
        if plain(known) == plain(name):
            return register_class(class_at(target), known)
    nearest = did_you_mean(name, [*model_names(), *installed])
    ours = ", ".join(entry.name for entry in ENTRIES)
    raise ConfigError(f"Unknown model '{name}'.{nearest or f' Ours are: {ours}.'}")


def entry_of_class(cls: type) -> Entry:
    """Return the entry of a model class; a class that is neither ours nor RecBole's gets one."""
    entry = find(cls.__name__)
    if entry is not None and entry.load() is cls:
        return entry
    return register_class(cls, source_of_class(cls))


def get_model(model_name: str) -> type:
    """Return the class of a model by name; this replaces `recbole.utils.get_model`."""
    return resolve(model_name).load()


# --- Models from outside the package ----------------------------------------------------------


def register_class(cls: type, source: str | None = None) -> Entry:
    """Make a model class known by its name, for this process.

    Args:
        cls: a model of RecBole's kind. With a `Settings` class (`config.setting.Settings`) it is
            treated as the models of this package: defaults, checks of keys, help, phases.
        source: where another process finds it: `file.py:Class`, `package.module:Class` or the name
            of an entry point; None where it cannot.

    Raises:
        ConfigError: it is no model, or its name is that of another one.
    """
    _check_class(cls)
    name = cls.__name__
    target = f"{cls.__module__}:{cls.__qualname__}"
    taken = OURS.get(plain(name)) or _recbole_models().get(plain(name))
    if taken is not None:
        owner = "this package" if taken.ours else "RecBole"
        raise ConfigError(
            f"The class {name} ({target}) has the name of a model of {owner}: give it another."
        )
    declared = getattr(cls, "Settings", None)
    about = (cls.__doc__ or "").strip().split("\n")[0].rstrip(".")
    settings = _settings_name(cls)
    if declared is not None:
        settings = f"{target}.Settings"
        SETTINGS_OF_OUTSIDE[settings] = declared
    entry = Entry(
        name,
        target,
        settings,
        stock=False,
        ours=declared is not None,
        about=about,
        source=source,
        cls=cls,
    )
    _outside[plain(name)] = entry
    return entry


def _settings_name(cls: type) -> str:
    """Return the model whose defaults a class without settings of its own takes over."""
    for base in cls.__mro__[1:]:
        entry = _recbole_models().get(plain(base.__name__))
        if entry is not None and entry.target == f"{base.__module__}:{base.__qualname__}":
            return entry.name
    return cls.__name__


def class_at(spec: str) -> type:
    """Import the class that `path/to/file.py:Class` or `package.module:Class` names.

    Raises:
        ConfigError: the file or module cannot be imported, or has no such class.
    """
    place, _, name = spec.rpartition(":")
    module = _module_of_file(Path(place)) if place.endswith(".py") else _module_named(place, spec)
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise ConfigError(f"'{place}' has no class '{name}'.{did_you_mean(name, classes)}")
    return found


def source_of_spec(spec: str) -> str:
    """Return a specification that holds in any folder: the path of a file made absolute."""
    place, _, name = spec.rpartition(":")
    return f"{Path(place).resolve()}:{name}" if place.endswith(".py") else spec


def source_of_class(cls: type) -> str | None:
    """Return where another process finds a class; None for one that was typed into a session."""
    if "<locals>" in cls.__qualname__:
        return None
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    if file is None:
        return None
    if cls.__module__ == "__main__" or cls.__module__.startswith(_FILE_MODULE):
        return f"{Path(file).resolve()}:{cls.__qualname__}"
    return f"{cls.__module__}:{cls.__qualname__}"


@functools.cache
def installed_models() -> dict[str, str]:
    """Return the models that installed packages offer: name -> 'module:Class'."""
    return {
        point.name: point.value for point in importlib.metadata.entry_points(group=ENTRY_POINTS)
    }


def _check_class(cls: type) -> None:
    for base in cls.__mro__:
        if base.__module__ == "recbole.model.abstract_recommender":
            return
    raise ConfigError(
        f"The class {cls.__name__} ({cls.__module__}) is no model: it must derive from "
        "recbole.model.abstract_recommender.SequentialRecommender or from a model of this package."
    )


def _module_named(place: str, spec: str) -> types.ModuleType:
    try:
        return importlib.import_module(place)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"The model '{spec}' cannot be imported: {error}.") from error


def _module_of_file(file: Path) -> types.ModuleType:
    """Import a file once a process, under a name that its path decides."""
    path = file.expanduser().resolve()
    name = f"{_FILE_MODULE}{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise ConfigError(f"The file '{file}' of a model does not exist.")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"The file '{file}' of a model is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        line = _line_in(error, path)
        raise ConfigError(
            f"The file '{file}' of a model cannot be imported: line {line}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return module


def _line_in(error: Exception, path: Path) -> int:
    """Return the line of a file at which an error left it."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 1
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    return (lines[-1] if lines else None) or 1
