"""Write the golden file anew: `python tests/golden/regenerate.py`.

Do so only where a change of the numbers is meant; the changelog then says which, and why. The
program prints what differs from the file that it replaces.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from command_server import CommandServer
from golden_runs import GOLDEN, MODELS, describe_machine, train


def main() -> None:
    """Train every model and write what it reached."""
    before = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    server = CommandServer()
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            runs[model] = train(model, Path(folder), server)
            kept = before.get("runs", {}).get(model) == runs[model]
            score = runs[model]["test"]["ndcg@10"]
            print(f"{model}: {'as before' if kept else 'CHANGED'}, NDCG@10 {score:.6f}")
    server.close()
    golden = {"machine": describe_machine(), "runs": runs}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
    print(f"Wrote {GOLDEN}.")


if __name__ == "__main__":
    main()
