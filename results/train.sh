#!/usr/bin/env bash
# The trainings of the study on results/README.md, shortest first. It skips what is finished and goes on with what was
# interrupted, so it may be started again at any time: nohup nice bash results/train.sh > logs/train.log 2>&1 &
# DATA is FER-2013, VOTES the FER+ votes that belong to it: a folder copy and a table by file name, or fer2013.csv and
# fer2013new.csv; PYTHON is the environment's Python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
data="${DATA:-data/fer2013}"
votes="${VOTES:-data/ferplus/votes.csv}"
python="${PYTHON:-python}"

fer="--data $data --drop-duplicates"
ferplus="$fer --ferplus $votes --soft-labels on"
sgd="--optimizer sgd --learning-rate 0.1 --batch-size 128 --schedule linear"
# 2.7 million multiply-adds: minutes a training.
small="$sgd --image-size 32 --model compact_resnet:stem_width=16:widths=32+64+116:strides=2+2+2:blocks=1+1+1:dropout=0.1"
small="$small --weight-decay 0.003 --warmup 1 --ema 0.05 --erase 0.1"
# 18 million multiply-adds: about half an hour a training.
middle="$sgd --image-size 40 --model compact_resnet:stem_width=24:widths=32+64+128:blocks=1+1+1:dropout=0.1 --epochs 30"
middle="$middle --weight-decay 0.004 --warmup 1 --ema 0.05 --erase 0.1"
# The network of the published runs.
full="$sgd --image-size 48 --model compact_resnet --epochs 72 --weight-decay 0.005 --warmup 2 --ema 0.03"
three="--axis seed=0,1,2"
shared="--train hierarchical --trunk shared"

# train NAME --mode MODE FLAGS...
train() {
    local name="$1" folder="results/$1"
    shift
    [ -f "$folder/report.html" ] && return 0 # what a finished training writes last
    # Killed before it recorded its settings: nothing is lost.
    [ -f "$folder/config.json" ] || [ -f "$folder/grid.json" ] || rm -rf "$folder"
    # A training that fails must not keep the others from their turn.
    if [ -d "$folder" ]; then
        "$python" tf_model.py --resume "$name" "${@:1:2}" || echo "failed: $name" >&2
    else
        "$python" tf_model.py "$@" --name "$name" || echo "failed: $name" >&2
    fi
}
grid() { train "$1" --mode grid "${@:2}"; }
run() { train "$1" --mode "${@:2}"; }

# What dlib's face recognition has learned, at 112 pixels: up to four hours a training.
face="$fer --model face_resnet:dropout=0.2 --weights dlib-face --optimizer adamw --learning-rate 0.0005 --schedule linear"
face="$face --warmup 0.5 --batch-size 64 --epochs 30 --mirror"

grid small-flat $fer $small --train flat --epochs 24 $three
grid small-shared $fer $small $shared --epochs 24 $three
grid ferplus-small-flat $ferplus $small --train flat --epochs 24 $three
grid ferplus-small-shared $ferplus $small $shared --epochs 24 $three
grid small-separate $fer $small --train hierarchical --epochs 12 $three
grid ferplus-small-separate $ferplus $small --train hierarchical --epochs 12 $three

grid middle-flat $fer $middle --train flat $three
grid middle-shared $fer $middle $shared $three
run face-flat flat $face
run face-shared hierarchical --trunk shared $face
run full-flat flat $fer $full
run full-shared hierarchical --trunk shared $fer $full
run ferplus-full-flat flat $ferplus $full
run ferplus-full-shared hierarchical --trunk shared $ferplus $full
# Rare emotions: what is done about imbalance, for flat and shared alike.
for balance in oversample class-weight; do
    grid middle-flat-$balance $fer $middle --train flat --balance $balance $three
    grid middle-shared-$balance $fer $middle $shared --balance $balance $three
done
grid middle-flat-balanced-softmax $fer $middle --train flat --loss balanced-softmax $three
grid middle-shared-balanced-softmax $fer $middle $shared --loss balanced-softmax $three
