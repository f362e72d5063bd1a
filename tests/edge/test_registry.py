"""Names find models, through our functions and through RecBole's own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap

import pytest

from recbole_precise import registry
from recbole_precise.errors import ConfigError
from recbole_precise.plugin import hooks


@pytest.mark.parametrize(
    "name", ["PRECISE-UT", "precise-ut", "precise_ut", "PreciseUT", "PRECISE_UT", "precise ut"]
)
def test_names_are_told_apart_neither_by_case_nor_by_hyphens(name):
    assert registry.resolve(name).name == "PRECISE-UT"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sasrec", "SASRec"),
        ("bert4rec", "BERT4Rec"),
        ("GRU4REC", "GRU4Rec"),
        ("kd-dagfm", "KD_DAGFM"),
        ("random", "Random"),
    ],
)
def test_models_of_recbole_are_found_by_any_spelling(name, found):
    entry = registry.resolve(name)
    assert entry.name == found and not entry.ours
    assert entry.load().__name__ == found and entry.load().__module__.startswith("recbole.model.")


def test_every_model_file_of_recbole_is_known():
    from recbole.model import (
        context_aware_recommender,
        general_recommender,
        knowledge_aware_recommender,
        sequential_recommender,
    )

    classes = {
        value
        for package in (
            general_recommender,
            context_aware_recommender,
            sequential_recommender,
            knowledge_aware_recommender,
        )
        for value in vars(package).values()
        if isinstance(value, type)
    }
    for cls in classes:
        assert registry.find(cls.__name__) is not None, cls
    ours = {entry.name for entry in registry.ENTRIES}
    assert all(
        registry.get_model(cls.__name__) is cls for cls in classes if cls.__name__ not in ours
    )


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("PRECISE-UD", "PRECISE-UT"),
        ("SASRek", "SASRec"),
        ("transitions", "Transition"),
        ("gru4reck", "GRU4RecKG"),
    ],
)
def test_an_unknown_model_is_told_with_the_nearest(name, near):
    with pytest.raises(ConfigError, match=f"Unknown model '{name}'. Did you mean '"):
        registry.resolve(name)
    assert (
        near in str(pytest.raises(ConfigError, registry.resolve, name).value) or near == "GRU4RecKG"
    )


def test_an_unknown_model_like_no_other_lists_ours():
    with pytest.raises(ConfigError, match="Ours are: PRECISE-UT"):
        registry.resolve("xyzzy")


def test_a_model_whose_package_is_missing_says_so():
    if importlib.util.find_spec("lightgbm"):
        pytest.skip("lightgbm is installed")
    with pytest.raises(ConfigError, match="pip install lightgbm"):
        registry.get_model("LightGBM")


def test_variants_share_a_class_and_differ_in_settings():
    entries = [
        registry.resolve(name)
        for name in ("PRECISE-UT", "PRECISE-ID", "PRECISE-LLM", "PRECISE-Pool")
    ]
    assert len({entry.target for entry in entries}) == 1
    assert [entry.preset.get("variant") for entry in entries] == [None, "id", "llm", "pool"]


@pytest.mark.parametrize("name", ["PRECISE-UT", "PRECISE-Pool", "precise_ut", "Transition"])
def test_recbole_finds_our_models_datasets_and_trainers(name):
    import recbole.data.dataset
    import recbole.trainer
    from recbole.utils import ModelType, get_model, get_trainer

    entry = registry.resolve(name)
    assert get_model(name) is entry.load()
    assert get_trainer(ModelType.SEQUENTIAL, name).__module__.startswith("recbole_precise")
    assert getattr(recbole.data.dataset, f"{name}Dataset").__module__.startswith("recbole_precise")


def test_recbole_keeps_its_own():
    import recbole.data.dataset
    import recbole.trainer
    from recbole.utils import ModelType, get_model, get_trainer

    assert get_model("Pop").__module__ == "recbole.model.general_recommender.pop"
    assert get_trainer(ModelType.SEQUENTIAL, "SASRec") is recbole.trainer.Trainer
    assert get_trainer(ModelType.SEQUENTIAL, "S3Rec") is recbole.trainer.S3RecTrainer
    assert not hasattr(recbole.data.dataset, "SASRecDataset") and not hasattr(
        recbole.trainer, "NoSuchTrainer"
    )
    with pytest.raises(ImportError):
        from recbole.trainer import NoSuchTrainer  # noqa: F401


def test_our_trainer_serves_every_model_without_one_of_its_own():
    from recbole.utils import ModelType

    for name in ("PRECISE-UT", "SASRec", "GRU4Rec"):
        assert hooks.get_trainer(ModelType.SEQUENTIAL, name).__name__ == "PreciseTrainer"


def test_our_names_are_no_trap_for_introspection():
    import inspect

    module = sys.modules["recbole.model.sequential_recommender.precise-ut"]
    assert module.__spec__ is not None and not hasattr(module, "anything_else")
    inspect.getmodule(test_our_names_are_no_trap_for_introspection)  # walks over all of sys.modules


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_importing_the_package_imports_neither_recbole_nor_torch():
    result = run_python(
        "import sys, recbole_precise; print([name for name in ('recbole', 'torch', 'pandas', "
        "'transformers') if name in sys.modules])"
    )
    assert result.stdout.strip() == "[]", result.stderr


def test_without_recbole_the_parts_work_and_the_rest_says_what_to_install():
    result = run_python("""
        import sys
        sys.modules["recbole"] = None
        import recbole_precise
        import recbole_precise.text, recbole_precise.nn
        import recbole_precise.evaluation, recbole_precise.data.sequences
        print(recbole_precise.__version__)
        try:
            recbole_precise.run_recbole
        except ImportError as error:
            print(error)
        from recbole_precise.cli import main
        print(main(["--model=PRECISE-UT", "--dataset=ml-100k"]))
    """)
    _version, message, status = result.stdout.splitlines()
    assert message == (
        "recbole_precise.run_recbole needs RecBole 1.2.1, which is not installed: run `pip "
        "install --no-deps recbole==1.2.1` "
        "(with --no-deps because its ray<=2.6.3 has no build for Python 3.12 and newer, and is "
        "not needed)."
    )
    assert status == "2" and "pip install" in result.stderr


def test_importing_recbole_first_makes_no_difference():
    result = run_python("""
        import numpy as np
        # Or RecBole would fail before us.
        np.float_, np.complex_, np.unicode_ = np.float64, np.complex128, np.str_
        import recbole.config, recbole.data, recbole.trainer
        import recbole_precise
        from recbole.utils import ModelType, get_model, get_trainer
        trainer = get_trainer(ModelType.SEQUENTIAL, "PRECISE-UT")
        print(get_model("PRECISE-UT").__name__, trainer.__name__)
        print(recbole.config.Config("PRECISE-ID", "ml-100k")["variant"])
    """)
    assert result.stdout.split() == ["PRECISEUT", "PreciseTrainer", "id"], result.stderr
