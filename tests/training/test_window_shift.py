"""Windows that begin anew each epoch: every target still once, the same seed still the same run."""

import torch

import recbole_precise as rp
from recbole_precise.data.sequences import ranges

SETTINGS = {"window_shift": True, "train_batch_size": 64, "MAX_ITEM_LIST_LENGTH": 10, "gpu_id": ""}


def loader_of(**more):
    config = rp.Config(model="PRECISE-ID", dataset="ml-100k", config_dict={**SETTINGS, **more})
    return rp.data_preparation(config, rp.create_dataset(config))[0]


def trained_targets(loader):
    rows = loader._dataset.inter_feat.interaction
    return (
        ranges(rows.end - rows["supervised_length"] + 1, rows["supervised_length"])[1].sort().values
    )


def test_every_target_is_trained_once_wherever_windows_begin():
    loader = loader_of()
    wanted = trained_targets(loader)
    sizes = set()
    for seed in range(4):
        assert loader._dataset.shift_windows(torch.Generator().manual_seed(seed))
        assert torch.equal(trained_targets(loader), wanted)
        sizes.add(loader._dataset.inter_feat.interaction["supervised_length"].tolist()[0])
    assert len(sizes) > 1  # they do begin elsewhere


def test_windows_stay_where_they_are_unless_asked():
    loader = loader_of(window_shift=False)
    before = loader._dataset.inter_feat.interaction.end
    assert not loader._dataset.shift_windows(torch.Generator())
    assert torch.equal(loader._dataset.inter_feat.interaction.end, before)


def test_batches_carry_the_shifted_windows_and_their_lengths():
    loader = loader_of()
    loader._dataset.shift_windows(torch.Generator().manual_seed(5))
    loader.sampler.data_source[:] = range(len(loader._dataset))
    seen = sum(int(batch["supervised_length"].sum()) for batch in loader)
    assert seen == len(trained_targets(loader))
