"""The launch of several processes: what cannot work is refused before anything starts, and every
wait ends.
"""

from __future__ import annotations

import socket

import pytest

from recbole_precise import cli
from recbole_precise.config.limits import cores, most_processes
from recbole_precise.errors import ConfigError
from recbole_precise.plugin import launch
from recbole_precise.plugin.launch import check_launch, free_port

GOOD = {"nproc": 2, "world_size": -1, "ip": "localhost", "port": None, "group_offset": 0}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nproc": "two"}, "nproc must be a whole number"),
        ({"nproc": True}, "nproc must be a whole number"),
        ({"nproc": 0}, "nproc must be a whole number from 1 on"),
        ({"nproc": 1_000_000}, "nproc must be at most"),
        ({"nproc": 10**30}, "nproc must be at most"),
        ({"world_size": 1}, "world_size 1 is less than group_offset 0 and nproc 2"),
        (
            {"world_size": 3, "group_offset": 2},
            "world_size 3 is less than group_offset 2 and nproc 2",
        ),
        ({"world_size": 10**9}, "world_size must be at most"),
        ({"world_size": 2.0}, "world_size must be a whole number"),
        ({"group_offset": -1}, "group_offset must be a whole number"),
        ({"port": 0}, "port must be a number from 1 to 65535"),
        ({"port": "99999"}, "port must be a number from 1 to 65535"),
        ({"port": "a"}, "port must be a number from 1 to 65535"),
        ({"ip": ""}, "ip must be the address"),
        ({"ip": None}, "ip must be the address"),
        ({"ip": "256.256.1.1"}, "ip: '256.256.1.1' is no address that this machine can find"),
        ({"ip": "no such host"}, "ip: 'no such host' is no address"),
    ],
)
def test_a_launch_that_cannot_work(change, words):
    with pytest.raises(ConfigError) as caught:
        check_launch(**{**GOOD, **change})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"nproc": 1},
        {"port": str(free_port())},
        {"ip": "127.0.0.1"},
        {"world_size": 2},
        {"world_size": 4, "group_offset": 2, "ip": "127.0.0.1", "port": "5678"},
    ],
)
def test_a_launch_that_can_work(change):
    check_launch(**{**GOOD, **change})


def test_a_port_that_is_taken():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen(1)
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port: nothing can listen at {port}"):
            check_launch(**{**GOOD, "port": port})


def test_an_address_that_does_not_answer(monkeypatch):
    """As where packets are dropped: a bounded wait and the reason."""
    asked = []

    def silent(address, timeout):
        asked.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(launch.socket, "create_connection", silent)
    for offset, whose in (
        (0, "this machine, which has the first process,"),
        (2, "the first machine"),
    ):
        with pytest.raises(ConfigError, match=f"ip: {whose} cannot be reached at '127.0.0.1'"):
            check_launch(
                **{
                    **GOOD,
                    "ip": "127.0.0.1",
                    "port": "5678",
                    "world_size": 4,
                    "group_offset": offset,
                }
            )
    assert asked == [launch._ANSWER_SECONDS] * 2


def test_the_bound_follows_the_cores():
    assert most_processes() >= max(16, 4 * cores()) and cores() >= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nproc=two"], "--nproc must be a whole number"),
        (["--nproc=1000000"], "nproc must be at most"),
        (["--nproc=2", "--port=0"], "--port must be a whole number above 0"),
        (["--nproc=2", "--port=70000"], "port must be a number from 1 to 65535"),
        (["--port=5678"], "--port does nothing without --nproc"),
        (["--ip=localhost"], "--ip does nothing without --nproc"),
        (["--world_size=4"], "--world_size does nothing without --nproc"),
        (["--worker=1000"], "worker (on the command line) must be at most"),
    ],
)
def test_on_the_command_line(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["--model=Pop", "--dataset=ml-100k", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_a_process_that_waits_for_others_in_vain_ends(monkeypatch):
    """One of two processes alone: it gives up when its patience is over, with the address in the
    message.
    """
    from recbole_precise.plugin import config

    monkeypatch.setattr(config, "MEETING_SECONDS", 1)
    settings = {
        "local_rank": 0,
        "nproc": 1,
        "world_size": 2,
        "ip": "localhost",
        "port": free_port(),
        "offset": 0,
        "gpu_id": "",
    }
    with pytest.raises(
        ConfigError, match="Process 0 of 2 cannot meet the others at localhost:.* within 1 seconds"
    ):
        config.Config("Pop", "ml-100k", config_dict=settings)
