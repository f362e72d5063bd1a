"""Do something the moment another module is imported, without importing it first.

RecBole takes seconds to import. Its fixes and our registrations therefore wait until the module
that they concern is asked for; a module that is already there is treated at once.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections import defaultdict
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Before = Callable[[], None]
After = Callable[[ModuleType], None]


class _Watcher(importlib.abc.MetaPathFinder):
    """The first of sys.meta_path, which wraps `exec_module` of the modules watched.

    It finds nothing itself.
    """

    def __init__(self) -> None:
        self.before: dict[str, list[Before]] = defaultdict(list)
        self.after: dict[str, list[After]] = defaultdict(list)
        self._looking: set[str] = set()

    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        if fullname in self._looking or not (fullname in self.before or fullname in self.after):
            return None
        self._looking.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._looking.discard(fullname)
        if spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            # The loader is itself again before anything of the module runs, so that nobody else
            # meets the wrapper.
            del loader.exec_module
            for before in self.before.pop(fullname, []):
                before()
            execute(module)
            for after in self.after.pop(fullname, []):
                after(module)

        loader.exec_module = exec_module
        return spec


_watcher = _Watcher()


def _watch() -> None:
    if _watcher not in sys.meta_path:
        sys.meta_path.insert(0, _watcher)


def before_import(name: str, call: Before) -> None:
    """Run `call()` just before the module `name` is executed; never when it is already imported."""
    if name not in sys.modules:
        _watch()
        _watcher.before[name].append(call)


def after_import(name: str, call: After) -> None:
    """Run `call(module)` just after the module `name` was imported.

    Run it now when the module is imported already.
    """
    module = sys.modules.get(name)
    if module is not None:
        call(module)
        return
    _watch()
    _watcher.after[name].append(call)


def load_target(target: str) -> Any:
    """Import what 'module:name' names, at the moment when it is needed.

    This is how a low layer reaches what is in a high one or is slow to import: models by name, and
    hooks that wait for RecBole.
    """
    module, name = target.split(":")
    return getattr(importlib.import_module(module), name)
