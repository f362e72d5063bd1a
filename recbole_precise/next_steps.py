"""The commands that come next.

They resume an interrupted run, or ask something of a finished one.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole.utils import ModelType

from recbole_precise.plugin.launch import under_torchrun

_COMMAND = "recbole-precise"


def resume_command(config: Any, run_dir: Path, config_files: Sequence[object] | None) -> str:
    """Return what resumes an interrupted run: a command where a command began it.

    Elsewhere it is the run's settings.

    Args:
        config: of the run.
        run_dir: its directory.
        config_files: as they were given beside the command line.
    """
    words = [f"--run_dir={run_dir}", "--resume=True"]
    if config["nproc"] and not under_torchrun():
        words.append(f"--nproc={config['nproc']}")
    arguments = getattr(config, "command_line", None)
    if arguments is None or under_torchrun():
        return shlex.join(words)
    model = config["model_source"] or config["model"]
    named = [f"--model={model}", f"--dataset={config['dataset']}"]
    if config_files:
        named.append(f"--config_files={' '.join(map(str, config_files))}")
    same = [
        argument for argument in arguments if not argument.startswith(("--run_dir=", "--resume="))
    ]
    return shlex.join([_COMMAND, *named, *same, *words])


def after_a_run(config: Any, run_dir: Path, dataset: Any) -> str | None:
    """Return lines with the commands that ask a finished run, None where no command trained it.

    Args:
        config: of the run.
        run_dir: its directory.
        dataset: RecBole's, for the name of a user.
    """
    if getattr(config, "command_line", None) is None:
        return None
    asked = [f"--run_dir={run_dir}"]
    if config["model_source"]:
        asked.append(f"--model={config['model_source']}")
    commands = [["evaluate", *asked, "--split=valid"]]
    users = map(str, dataset.field2id_token[dataset.uid_field][1:])
    user = next(
        (name for name in users if name and not set(name) & set(" \t,\"'")), None
    )  # names are separated by blanks
    if config["MODEL_TYPE"] == ModelType.SEQUENTIAL and user is not None:
        commands.append(["recommend", *asked, f"--users={user}"])
    if config["evaluator"] != "recbole":
        commands.append(["compare", str(run_dir), "OTHER_RUN"])
    return "Next:\n" + "\n".join(f"  {shlex.join([_COMMAND, *words])}" for words in commands)
