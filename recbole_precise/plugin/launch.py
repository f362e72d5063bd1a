"""Run several processes for one run.

They are started here, as by RecBole's `run`, or found where torchrun started them.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from recbole_precise.config.limits import cores, most_processes
from recbole_precise.errors import ConfigError, InterruptedRunError, UserError, shown
from recbole_precise.system import interrupts

_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
RECBOLES_PORT = "5678"
MEETING_SECONDS = 120  # that the processes of a run wait for each other at its start
_ANSWER_SECONDS = (
    5.0  # that an address gets to answer before it counts as one that cannot be reached
)
_GRACE = 5.0  # seconds that processes get to end by themselves after Ctrl-C, before they are ended


def under_torchrun() -> bool:
    """Whether torchrun, or a launcher with its environment variables, has started this process."""
    return all(name in os.environ for name in _TORCHRUN)


def torchrun_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """RecBole's launch settings from torchrun's environment.

    None without torchrun, or where `given` has them already.
    """
    if not under_torchrun() or "local_rank" in given:
        return {}
    rank, local, world = (_number(name) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    here = _number("LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in os.environ else world
    address = {"ip": os.environ["MASTER_ADDR"], "port": os.environ["MASTER_PORT"]}
    return {
        "local_rank": local,
        "offset": rank - local,
        "world_size": world,
        "nproc": here,
        **address,
    }


def _number(name: str) -> int:
    try:
        return int(os.environ[name])
    except ValueError:
        raise ConfigError(
            f"The environment variable {name} must be a whole number, not {os.environ[name]!r}; "
            "torchrun sets it."
        ) from None


def check_launch(nproc: Any, world_size: Any, ip: Any, port: Any, group_offset: Any) -> None:
    """Refuse a launch that cannot work, before any process is started.

    Args:
        nproc, world_size, ip, port, group_offset: as in RecBole's `run`; `world_size` -1 and `port`
            None stand for the default.

    Raises:
        ConfigError: names the argument; also for an address that cannot be reached and a port that
            is taken.
    """
    for key, value, least in (
        ("nproc", nproc, 1),
        ("world_size", world_size, -1),
        ("group_offset", group_offset, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{key} must be a whole number from {least} on, not {shown(value)}.")
    if nproc > most_processes():
        raise ConfigError(
            f"nproc must be at most {most_processes()} on this machine of {cores()} cores, not "
            f"{shown(nproc)}."
        )
    total = nproc if world_size <= 0 else world_size
    if total > 100_000:
        raise ConfigError(f"world_size must be at most 100000, not {shown(total)}.")
    if nproc + group_offset > total:
        raise ConfigError(
            f"world_size {total} is less than group_offset {group_offset} and nproc {nproc} "
            "together: it counts the processes of all machines."
        )
    if nproc == 1 and world_size <= 0:
        return
    if port is not None and (not str(port).isdecimal() or not 1 <= int(port) <= 65535):
        raise ConfigError(f"port must be a number from 1 to 65535, not {shown(port)}.")
    if not isinstance(ip, str) or not ip.strip():
        raise ConfigError(f"ip must be the address of the first machine, not {shown(ip)}.")
    if port is not None or ip != "localhost":
        _check_address(ip, None if port is None else int(port), first=group_offset == 0)


def _check_address(ip: str, port: int | None, first: bool) -> None:
    """Whether the first machine can listen at the port and be reached at the address.

    For other machines whether it answers.
    """
    try:
        address = socket.getaddrinfo(ip, port, type=socket.SOCK_STREAM)[0][4]
    except (OSError, UnicodeError, ValueError) as error:
        raise ConfigError(
            f"ip: '{ip}' is no address that this machine can find ({error})."
        ) from error
    if not first:
        _try_to_reach(ip, address, refusal_is_fine=True)
        return
    with socket.socket(socket.AF_INET6 if ":" in str(address[0]) else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port or 0))
            listener.listen(1)
        except OSError as error:
            raise ConfigError(
                f"port: nothing can listen at {port} on this machine ({error.strerror}); choose "
                "another one."
            ) from error
        _try_to_reach(
            ip, (address[0], listener.getsockname()[1], *address[2:]), refusal_is_fine=False
        )


def _try_to_reach(ip: str, address: tuple, refusal_is_fine: bool) -> None:
    """Connect once, within seconds.

    A machine that refuses is there, and may begin to listen later.
    """
    try:
        socket.create_connection(address[:2], timeout=_ANSWER_SECONDS).close()
    except ConnectionRefusedError as error:
        if not refusal_is_fine:
            raise ConfigError(
                f"ip: this machine, which has the first process, cannot be reached at '{ip}' "
                f"({error})."
            ) from error
    except OSError as error:
        whose = (
            "the first machine" if refusal_is_fine else "this machine, which has the first process,"
        )
        reason = error.strerror or f"no answer within {_ANSWER_SECONDS:g} seconds"
        raise ConfigError(f"ip: {whose} cannot be reached at '{ip}' ({reason}).") from error


def free_port() -> str:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return str(probe.getsockname()[1])


def start_processes(work: Callable[..., None], arguments: tuple, count: int) -> None:
    """Run `work(index, *arguments)` in `count` new processes and wait for all.

    When one fails, the others are ended.

    Raises the UserError of the first process that had one; a RuntimeError with the traceback of any
    other fault; InterruptedRunError when a process was killed; KeyboardInterrupt.
    """
    import torch.multiprocessing as mp

    # torch's C++ side of DistributedDataParallel warns, in each process, that looking for unused
    # parameters found none.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    logging.getLogger("torch.multiprocessing.spawn").setLevel(
        logging.ERROR
    )  # it tells which processes it ends; why is reported here
    faults = mp.get_context("spawn").SimpleQueue()
    context = mp.spawn(
        _guarded, args=(os.getpid(), work, arguments, faults), nprocs=count, join=False
    )
    try:
        while not context.join():
            pass
    except KeyboardInterrupt as interrupt:
        _end(context.processes, interrupts.signal_of(interrupt))
        raise
    except (mp.ProcessExitedException, mp.ProcessRaisedException) as ended:
        _raise_cause(faults, ended, count)


def _guarded(
    index: int, parent: int, work: Callable[..., None], arguments: tuple, faults: Any
) -> None:
    """Run one of the processes and report what goes wrong to the parent, which speaks for all."""
    interrupts.end_with(parent)
    try:
        # The parent ends who does not end by itself; a signal that comes from it and from a
        # terminal is one.
        with interrupts.signals_interrupt(repeat=False):
            work(index, *arguments)
        return
    except KeyboardInterrupt as interrupt:
        status = interrupts.status_of(interrupt)
    except UserError as error:
        faults.put((index, error))
        status = 2
    except Exception:
        faults.put((index, traceback.format_exc()))
        status = 1
    # The others may still wait for this process in gloo's threads: an orderly exit would have C++
    # complain of them on stderr.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _raise_cause(faults: Any, ended: Exception, count: int) -> None:
    found = []
    while not faults.empty():
        found.append(faults.get())
    # A process that loses the others fails too, and may be seen to end first: the user's mistake is
    # the cause.
    for _, fault in found:
        if isinstance(fault, UserError):
            raise fault from None
    if found:
        raise RuntimeError(f"Process {found[0][0]} of {count} failed:\n{found[0][1]}") from None
    signum = (getattr(ended, "exit_code", None) or 0) - 128
    if signum in interrupts.signals():
        raise interrupts.Interrupted(signum) from None
    killer = getattr(ended, "signal_name", None)
    how = f"ended with status {getattr(ended, 'exit_code', '?')}"
    if killer:
        how = f"was killed ({killer})"
    raise InterruptedRunError(
        f"Process {getattr(ended, 'error_index', '?')} of {count} {how}, and the others were "
        "stopped. If memory ran out, lower train_batch_size; "
        "go on with the same run_dir and resume: True."
    ) from None


def _end(processes: list, signum: int) -> None:
    """End processes that a signal to this one may or may not have reached: kindly, then by force.

    Args:
        signum: the signal. Ctrl-C and the end of a terminal reach all processes that run there,
            SIGTERM one alone.
    """
    first = signum if signum == signal.SIGTERM else None
    for end in (first, signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _GRACE
        for process in processes:
            if end is not None and process.is_alive():
                os.kill(process.pid, end)
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
        if not any(process.is_alive() for process in processes):
            return
