"""RecBole on today's libraries: each mend does what it says and no more."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_precise.plugin import patches as compat
from recbole_precise.plugin.patches import pandas as compat_pandas
from recbole_precise.system.importing import after_import, before_import


def run_python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_patches_are_named_once_and_applied_once():
    names = [patch.name for patch in compat.PATCHES]
    assert len(set(names)) == len(names) and all(patch.mends for patch in compat.PATCHES)
    before = compat.applied()
    compat.apply()
    assert compat.applied() == before and set(before) <= set(names)


def test_only_what_is_needed_is_applied():
    applied = set(compat.applied())
    assert ("pandas-fillna" in applied) == (compat.version_of("pandas") >= (2, 2))
    assert ("ray-report" in applied) == (compat.version_of("ray") >= (2, 7))
    assert ("numpy-names" in applied) and np.float_ is np.float64
    assert ("hyperopt-integers" in applied) == (compat.version_of("hyperopt") > (0, 2, 5))


def test_recbole_files_are_untouched():
    import importlib.metadata

    for file in importlib.metadata.files("recbole"):
        if file.hash is not None and str(file).endswith(".py"):
            import base64
            import hashlib

            digest = (
                base64.urlsafe_b64encode(hashlib.sha256(file.read_binary()).digest())
                .rstrip(b"=")
                .decode()
            )
            assert digest == file.hash.value, file


def test_quick_start_imports_without_ray_and_leaves_no_stand_in_behind():
    if importlib.util.find_spec("ray"):
        pytest.skip("ray is installed")
    out = run_python("""
        import importlib.util, sys
        import recbole_precise
        import recbole.quick_start
        from recbole.quick_start import quick_start
        quick_start.tune.report(ndcg=1.0)
        print("ray" in sys.modules, importlib.util.find_spec("ray"))
    """)
    assert out.split() == ["False", "None"]


def test_a_ray_that_fails_to_import_is_passed_over(tmp_path):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("import pkg_resources_that_is_gone\n")
    out = run_python(f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import recbole_precise
        from recbole.quick_start import run_recbole
        print(run_recbole.__name__, "ray" in sys.modules)
    """)
    assert out.split() == ["run_recbole", "False"]


def test_a_new_rays_report_outside_a_trial_is_no_error(tmp_path):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("")
    (tmp_path / "ray" / "tune.py").write_text(
        "seen = []\ndef report(metrics):\n    seen.append(metrics)\n    raise RuntimeError('no "
        "trial')\n"
    )
    folder = tmp_path / "ray-2.9.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: ray\nVersion: 2.9.0\n")
    out = run_python(f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import recbole_precise
        from recbole.quick_start import quick_start
        quick_start.tune.report(ndcg=1.0)
        import ray.tune
        print(ray.tune.seen)
    """)
    assert out.strip() == "[{'ndcg': 1.0}]"


def test_grad_scaler_makes_no_noise():
    import recbole.trainer.trainer as module

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaler = module.amp.GradScaler(enabled=False)
    assert (
        isinstance(scaler, getattr(torch.amp, "GradScaler", torch.cuda.amp.GradScaler))
        and not scaler.is_enabled()
    )


def test_flops_are_optional(monkeypatch, caplog):
    import recbole.utils
    from recbole.utils.enum_type import ModelType

    monkeypatch.setitem(sys.modules, "thop", None)
    monkeypatch.setitem(sys.modules, "thop.profile", None)

    class Model(torch.nn.Module):
        type = ModelType.SEQUENTIAL

        def predict(self, interaction):
            return interaction

    class Rows:
        def __getitem__(self, index):
            return torch.zeros(1)

    flops = recbole.utils.get_flops(
        Model(), Rows(), torch.device("cpu"), None, lambda _dataset, rows: rows
    )
    assert np.isnan(flops) and "thop" in caplog.text


def test_collected_numbers_survive():
    from recbole.evaluator import Collector

    collector = Collector(
        {
            "metrics": ["ItemCoverage"],
            "topk": [10],
            "device": torch.device("cpu"),
            "eval_args": {"mode": {}},
        }
    )
    collector.data_struct.set("data.num_items", 7)
    collector.data_struct.set("data.count_items", {1: 2})
    collector.data_struct.update_tensor("rec.items", torch.tensor([[1, 2]]))
    collected = collector.get_data_struct()
    assert collected["data.num_items"] == 7 and collected["rec.items"].tolist() == [[1, 2]]
    assert "rec.items" not in collector.data_struct and "data.num_items" in collector.data_struct


def test_dok_matrices_can_be_updated_as_recbole_does():
    from scipy.sparse import dok_matrix

    matrix = dok_matrix((3, 3), dtype=np.float32)
    matrix._update({(0, 1): 1.0, (2, 2): 3.0})
    assert matrix.toarray().tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 3]]


def test_a_download_alone_meets_no_barrier():
    import recbole.data.dataset.dataset as module

    module.torch.distributed.barrier()
    assert module.torch.tensor([1]).tolist() == [1]


def test_a_generator_for_todays_hyperopt():
    compat._search_grids_with_todays_hyperopt()
    import recbole.trainer.hyper_tuning as module

    generator = module.np.random.RandomState(3)
    draws = [int(generator.integers(4)) for _ in range(50)] + [
        int(generator.integers(2, 4)) for _ in range(50)
    ]
    assert set(draws[:50]) == {0, 1, 2, 3} and set(draws[50:]) == {2, 3}
    assert module.np.prod([2, 3]) == 6 and 0 <= generator.uniform() < 1


class TestPandas:
    """The mends for pandas 3, against tables small enough to see."""

    def test_agg_len_counts_cells(self):
        column = pd.Series([[1, 2], [], [3]])
        with compat_pandas._agg_len_per_row():
            assert column.agg(len).tolist() == [2, 0, 1]
            assert pd.Series([1, 2]).agg("sum") == 3
        assert not hasattr(pd.Series.agg, "__wrapped__")  # pandas is itself again

    def test_empty_cells_of_sequence_columns_are_empty_text(self, tmp_path):
        file = tmp_path / "x.item"
        file.write_text("item_id:token\tclass:token_seq\tyear:float\na\t\t1\nb\tx y\t\n")
        frame = compat_pandas._FilledReader(pd).read_csv(file, delimiter="\t")
        assert (
            frame["class:token_seq"].tolist() == ["", "x y"]
            and frame["year:float"].isna().sum() == 1
        )
        assert compat_pandas._FilledReader(pd).DataFrame is pd.DataFrame

    def test_missing_values_are_filled_as_recbole_means_to(self, write_dataset, stock_config):
        from recbole.data import create_dataset

        events = [(f"u{u}", f"i{i}", 10 * u + i) for u in range(3) for i in range(4)]
        items = [("i0", "a b", "1"), ("i1", "", ""), ("i2", "c", "3"), ("i3", "d", "5")]
        path = write_dataset(
            "shop", events, items, item_header=("item_id:token", "title:token_seq", "price:float")
        )
        config = stock_config(
            "SASRec",
            "shop",
            data_path=str(path),
            load_col={
                "inter": ["user_id", "item_id", "timestamp"],
                "item": ["item_id", "title", "price"],
            },
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            dataset = create_dataset(config)
        dataset.build()
        prices = dict(
            zip(dataset.field2id_token["item_id"], dataset.item_feat["price"].tolist(), strict=True)
        )
        assert prices["i1"] == pytest.approx(3.0)
        titles = dataset.item_feat["title"]
        assert (titles[dataset.field2token_id["item_id"]["i1"]] == 0).all() and (
            titles[dataset.field2token_id["item_id"]["i0"]] > 0
        ).sum() == 2


def test_calls_around_an_import(tmp_path, monkeypatch):
    (tmp_path / "watched_module.py").write_text("import builtins\nbuiltins._seen.append('body')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen: list[str] = []
    monkeypatch.setattr("builtins._seen", seen, raising=False)
    before_import("watched_module", lambda: seen.append("before"))
    after_import("watched_module", lambda module: seen.append(f"after {module.__name__}"))
    import watched_module

    assert seen == ["before", "body", "after watched_module"]
    assert "exec_module" not in vars(watched_module.__loader__)
    after_import("watched_module", lambda module: seen.append("at once"))
    assert seen[-1] == "at once"
    del sys.modules["watched_module"]
    import watched_module

    assert seen.count("before") == 1
