"""The model card of a published run: what it is, what it was made of, how good it is and what it is not for.

After Mitchell et al., "Model cards for model reporting", 2019.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fer_hierarchy.hierarchy.config import several
from fer_hierarchy.hierarchy.reports.page import Block, Code, Items, Page, Section, Table, Text, measured, titled
from fer_hierarchy.hierarchy.reports.run import worst_confusions
from fer_hierarchy.hierarchy.wording import (
    PREDICTIONS,
    duration,
    group_words,
    millions,
    mode_words,
    percent,
    plain,
    points,
    span,
    whole,
    with_span,
)

CARD = "model_card.md"

# What is known of the rights and the making of data sets that people train on.
_FER2013_FACES = (
    "FER-2013 (Goodfellow et al., “Challenges in representation learning”, 2013): 35,887 grey faces of 48x48 "
    "pixels that an image search returned for emotion words, labelled by the search and by hand.",
    "The faces were collected from the web, and their authors were not asked; the data set came with a competition "
    "for research and states no licence for the pictures. None of them is in this folder.",
)
_ORIGINS = {
    "fer2013": (
        *_FER2013_FACES,
        "Labels are noisy: by the votes of FER+ (Barsoum et al., 2016) one annotator agrees with the plurality of the "
        "nine others on about three faces in four; people reach 65 ± 5 % on the labels (Goodfellow et al., 2013).",
    ),
    "ferplus": (
        *_FER2013_FACES,
        "Labels are those of FER+ (Barsoum et al., 2016): ten people voted on each face, and more than half of the "
        "votes make a label. Faces that people do not agree on are not evaluated, so figures are higher than on "
        "FER-2013's own labels and not comparable with them.",
    ),
}


def model_card(metrics: Mapping[str, Any], config: Mapping[str, Any]) -> Page:
    """The card of a published run.

    Args:
        metrics: metrics.json.
        config: config.json.
    """
    scores = metrics["answers"][metrics["headline"]]
    sections = [
        _what(metrics, config),
        _use(metrics, config),
        _data(metrics, config),
        _figures(metrics, scores),
        _failures(scores),
        Section("What it must not be used for", "", [Items(_not_for(metrics))]),
    ]
    return Page(
        title=f"Model card: {titled(str(metrics['run']), synthetic=bool(metrics.get('synthetic')))}",
        subtitle="What this model is, what it was made of, how good it is, and what it is not for.",
        banner="SYNTHETIC faces: nothing here is about real people." if metrics.get("synthetic") else "",
        sections=sections,
    )


def _what(metrics: Mapping, config: Mapping) -> Section:
    training, cost, published = metrics["training"], metrics["cost"], metrics.get("published", {})
    models = dict.fromkeys(str(stage["model"]) for stage in training.values())
    epochs = dict.fromkeys(str(stage["epochs_run"]) for stage in training.values())
    data = config["data"]
    facts = {
        "Kind": mode_words(metrics),
        "Network": ", ".join(models),
        "Emotions": ", ".join(metrics["emotions"]),
        "Groups": group_words(metrics["taxonomy"]),
        "Input": f"grey faces of {data['image_size']}x{data['image_size']} pixels"
        if data["channels"] == 1
        else f"colour faces of {data['image_size']}x{data['image_size']} pixels",
        "Mirror image": "predicted too, and the logits averaged"
        if config["evaluation"].get("mirror")
        else "not predicted",
        "Parameters": millions(cost.get("parameters")),
        "Multiply-adds of a face": millions(cost.get("multiply_adds")),
        "Weights": f"{published.get('weights')}, {published.get('bytes', 0) / 1e6:.2f} MB",
        "Trained": f"{', '.join(epochs)} epochs, seed {metrics['seed']}, {duration(cost.get('train_cpu_seconds'))} of "
        "processor time",
        "Trained before it": ", ".join(
            f"{name} ({duration(seconds) if seconds else 'not recorded'})"
            for name, seconds in (cost.get("earlier") or {}).items()
        ),
        "Taught by": ", ".join(several(data.get("teacher"))),
        "Fingerprint of the test rows": metrics.get("test_fingerprint"),
        "Fingerprint of the faces": metrics["data"].get("fingerprint"),
    }
    rows = [(name, plain(value)) for name, value in facts.items() if value]
    return Section("What it is", "", [Table(("Fact", "Value"), rows, words=(0, 1))])


def _use(metrics: Mapping, config: Mapping) -> Section:
    data, votes = f"data/{metrics['data']['dataset']}", config["data"].get("ferplus")
    if votes:  # which turn FER-2013 into FER+
        data = f"data/fer2013 --ferplus {votes}"
    lines = (
        "python tf_model.py --mode predict photo.jpg --run RUN",
        f"python tf_model.py --mode evaluate RUN --data {data}",
    )
    text = "RUN is this folder. The networks predict cut faces; --mode predict finds them in pictures."
    return Section("How to use it", "", [Code("\n".join(lines)), Text(text)])


def _data(metrics: Mapping, config: Mapping) -> Section:
    data = metrics["data"]
    rows = ", ".join(f"{split} {whole(count)}" for split, count in data["rows"].items())
    items = [*_ORIGINS.get(data["dataset"], (f"Data set: {data['dataset']}.",)), f"Faces: {rows}."]
    if config["data"]["drop_duplicates"]:
        items.append("Faces that stand in two splits, pixel for pixel, were dropped from the earlier one.")
    if metrics.get("excluded"):
        items.append(f"Left out everywhere: {', '.join(metrics['excluded'])}.")
    items += [str(note) for note in metrics.get("notes", ())]
    items.append(
        "Epoch, temperature and every other choice were made on validation faces; the test faces were read by the "
        "evaluation alone."
    )
    return Section("Data and protocol", "", [Items(items)])


def _figures(metrics: Mapping, scores: Mapping) -> Section:
    rows = [{"name": PREDICTIONS.get(name, name), **table} for name, table in metrics["answers"].items()]
    emotions = {"Emotion": ("class", str), "Recall %": ("recall", points), "Precision %": ("precision", points)}
    emotions |= {"F1 %": ("f1", points), "Faces": ("support", whole)}
    valence = scores.get("group", {})
    blocks: list[Block] = [
        Table.of(
            rows,
            {"Prediction": ("name", str), **measured(with_span)},
            caption=f"n = {whole(scores['n'])} test faces; 95 % bootstrap intervals in brackets",
            strong=(list(metrics["answers"]).index(metrics["headline"]),),
        ),
        Table.of(scores["per_class"], emotions, caption=f"Emotion by emotion ({PREDICTIONS[metrics['headline']]})"),
    ]
    if valence:
        bounds = span(valence, "top1")
        blocks.append(
            Text(
                f"The right group is named for {percent(valence['top1'])} of the faces"
                f"{f' ({bounds})' if bounds else ''}. Calibration error (ECE): {scores['ece']:.3f}."
            )
        )
    return Section("How good it is", "", blocks)


def _failures(scores: Mapping) -> Section:
    weakest = sorted(scores["per_class"], key=lambda row: row["recall"] or 0.0)[:2]
    named = " and ".join(f"{row['class']} ({percent(row['recall'])})" for row in weakest)
    items = [
        f"The emotions that it finds least often: {named}.",
        *worst_confusions(scores),
        "One training run: another seed would differ, by how much is not in the intervals above.",
        "It predicts for any picture, also where there is no face, and always one of its emotions.",
    ]
    return Section("Known failures", "", [Items(_sentences(items))])


def _not_for(metrics: Mapping) -> Sequence[str]:
    named = ", ".join(metrics["emotions"])
    return (
        f"To say what a person feels. It names the expression that people would call {named}; a face is no reliable "
        "sign of a feeling (Barrett et al., “Emotional expressions reconsidered”, 2019).",
        "To decide about people: hiring, policing, credit, insurance, schooling, health, border control. The European "
        "Union forbids inferring emotions at work and in schools (Regulation 2024/1689, article 5).",
        "On people who have not agreed to it.",
        "As if it were equally good for all people: age, skin, sex and culture are not recorded in the data, so how it "
        "fails by them could not be measured.",
    )


def _sentences(items: Sequence[str]) -> list[str]:
    return [f"{item[0].upper()}{item[1:]}" + ("" if item.endswith(".") else ".") for item in items]
