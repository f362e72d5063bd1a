#!/usr/bin/env bash
# Learning rate and dropout of every trained row of the shipped plans, under one rule: MINUTES of processor time for each model on
# one thread, trials of at most TRIAL_MINUTES, the first with the model's own settings (RecBole's, or our `recipe: default`),
# then TPE, all on validation NDCG@10. Goes on where it stopped. The findings (trials.md, best.yaml) lie in $OUT/<model>-<data set>.
#
#     bash benchmarks/tune_rows.sh ml-100k
#     bash benchmarks/tune_rows.sh prime-pantry --data_path=dataset
#     MODELS="Hybrid MoRec DisCo LLM-ESR" RECIPE=best bash benchmarks/tune_rows.sh prime-pantry --data_path=dataset --neighbour_transitions=0 --neighbour_texts=0   # with what was chosen for PAD there
#     MODELS="CTRL MAKE" TRIAL_MINUTES=2 RECIPE=best bash benchmarks/tune_rows.sh prime-pantry --data_path=dataset --neighbour_transitions=0 --neighbour_texts=0   # two phases, whose minutes add up
#     MODELS=PAD TRIAL_MINUTES=1.33 RECIPE=best bash benchmarks/tune_rows.sh prime-pantry --data_path=dataset --neighbour_transitions=0 --neighbour_texts=0   # three
#     MODELS="PAD CTRL ..." PATIENCE=20 bash benchmarks/tune_rows.sh ml-100k      # TRIAL_MINUTES as above
#     MODELS=gSASRec PATIENCE=20 bash benchmarks/tune_rows.sh ml-100k --train_batch_size=16   # it ranks by popularity for 20 epochs before it learns sequences
set -u
dataset=$1
shift
export PYTHON=${PYTHON:-python} OUT=${OUT:-saved/tuned} MINUTES=${MINUTES:-12} TRIAL_MINUTES=${TRIAL_MINUTES:-4} PATIENCE=${PATIENCE:-10} RECIPE=${RECIPE:-default} OMP_NUM_THREADS=1
models=${MODELS:-SASRec BERT4Rec GRU4Rec PRECISE-UT PRECISE-ID PRECISE-LLM PRECISE-Pool}
here=$(dirname "$0")
mkdir -p "$OUT"
tune_one() {
    space=$3/spaces/transformers.hyper
    [ "$1" = GRU4Rec ] && space=$3/spaces/GRU4Rec.hyper
    hours=$("$PYTHON" -c "print($MINUTES / 60)")
    "$PYTHON" -m recbole_precise tune --model="$1" --dataset="$2" --params_file="$space" --hours="$hours" --storage="$OUT/$1-$2.db" \
        --recipe="$RECIPE" --train_minutes="$TRIAL_MINUTES" --train_clock=processor --stopping_step="$PATIENCE" --threads=1 --gpu_id= --show_progress=False "${@:4}" >"$OUT/$1-$2.log" 2>&1 \
        || echo "$1 on $2 failed: see $OUT/$1-$2.log"
}
export -f tune_one
printf '%s\n' $models | xargs -P "${JOBS:-2}" -I{} bash -c 'tune_one "$@"' tune_one {} "$dataset" "$here" "$@"
