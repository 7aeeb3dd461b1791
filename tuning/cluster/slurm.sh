#!/usr/bin/env bash
# A search on a Slurm cluster. Task 0 of the array is the chief, which hands out the trials; the others train them.
# From the checkout, with the flags of the search behind the script:
#
#   NAME=positive DATA=data/fer2013 sbatch tuning/cluster/slurm.sh --stage positive --tuner bayesian --max-trials 60
#
# The same call with the same NAME resumes a search that ran out of time.
#
# Adapt: partition and account, how many workers (the array), cores, memory and time of each task. A worker may be
# killed or requeued at any time: its trial goes to another.
#SBATCH --job-name=fer-tune
#SBATCH --array=0-4
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --output=fer-tune-%A-%a.log
##SBATCH --partition=compute
##SBATCH --account=project
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?start this with sbatch}"

: "${NAME:?give the study a name, as in NAME=positive sbatch ...}"
: "${DATA:?give the faces, as in DATA=data/fer2013 sbatch ...}"
# Adapt: the environment's Python, and a folder for studies that every node sees under the same path.
PYTHON="${PYTHON:-.venv/bin/python}"
STUDIES="${STUDIES:-$PWD/logs/tuning}"
# One port for each job, as several chiefs may share a node. Nodes must let each other through on it; nothing on it is
# encrypted or asks for a password.
PORT="${PORT:-$((20000 + SLURM_ARRAY_JOB_ID % 20000))}"

mkdir -p "$STUDIES"
place="$STUDIES/.$NAME-$SLURM_ARRAY_JOB_ID.chief" # holds the chief's address, then the word done
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
export TF_NUM_INTRAOP_THREADS="$OMP_NUM_THREADS" TF_NUM_INTEROP_THREADS="$OMP_NUM_THREADS"

if [ "$SLURM_ARRAY_TASK_ID" -eq 0 ]; then
    if [ -f "$STUDIES/$NAME/study.json" ]; then
        search=(--resume "$NAME")
    else
        search=(--name "$NAME" --data "$DATA" "$@")
    fi
    echo "${SLURMD_NODENAME:-$(hostname)}:$PORT" > "$place.new"
    mv "$place.new" "$place"
    code=0
    "$PYTHON" tf_model.py --mode tune --distributed chief --oracle "0.0.0.0:$PORT" --study-dir "$STUDIES" \
        "${search[@]}" || code=$?
    echo "done" > "$place"
    exit "$code"
fi

# Tasks start in any order and perhaps hours apart.
until [ -s "$place" ]; do sleep 5; done
address="$(cat "$place")"
if [ "$address" = "done" ]; then
    echo "the search was over before this worker started"
    exit 0
fi
"$PYTHON" tf_model.py --mode tune --distributed worker --oracle "$address" --study-dir "$STUDIES" --name "$NAME" \
    --data "$DATA" --wait 30m
