"""The report of one run, section by section: figures, report.md and one self-contained report.html."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.preprocessing import normalize

from fer_hierarchy.hierarchy.config import SHARED, RunConfig
from fer_hierarchy.hierarchy.paths import CONFIG
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.coverage_section import coverage_section
from fer_hierarchy.hierarchy.reports.page import (
    Beside,
    Block,
    Image,
    Images,
    Items,
    Page,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    Warn,
    facts,
    how_to_repeat,
    limited,
    measured,
    report,
    write_page,
)
from fer_hierarchy.hierarchy.reports.robustness_section import robustness_section
from fer_hierarchy.hierarchy.reports.tuned_section import tuned_section
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.runs.run_folder import read_json
from fer_hierarchy.hierarchy.taxonomy import FLAT, POOLED, TRUNK
from fer_hierarchy.hierarchy.wording import (
    MEASURES,
    PREDICTION_NOTES,
    PREDICTIONS,
    decimals,
    duration,
    flatten,
    group_words,
    known,
    majority_line,
    millions,
    model_words,
    percent,
    plain,
    points,
    span,
    split_faces,
    whole,
    with_span,
)

GALLERY_FACES = 24
_SPLITS = ("train", "validation", "test")
_KINDS = {
    "hierarchical": "Hierarchical run: a gate chooses the group, a specialist the emotion",
    "flat": "Flat run: one network chooses among all emotions",
    "ensemble": "Ensemble: the geometric mean of the probabilities of several runs",
    "evaluation": "Evaluation: a saved run evaluated on other data",
}
_SPANS = measured(with_span)

_EARLIER_WORDS = (
    " Before it were the trainings of first weights (the stage that was taken, not others beside it), of teachers "
    "(whole runs) and of what these build on."
)

FacesOf = Callable[[Sequence[str]], np.ndarray]
"""Ids of n faces -> (n, height, width, channels) uint8."""


def write_run_report(folder: Path, *, faces: FacesOf | None) -> None:
    """Write figures/*.png, report.md and report.html of a run from what its folder holds.

    Args:
        folder: A run folder with config.json, metrics.json and predictions.csv; environment.json and
            stages/<stage>/history.csv and features.csv are shown where they are there.
        faces: Gives pixels by id, for the gallery of mistakes; None where no face may be shown.

    Raises:
        UserError: A file is missing or cannot be read.
    """
    run = Run(folder)
    record = RunRecord(folder=folder, synthetic=bool(run.metrics["synthetic"]), run=run, faces=faces)
    write_page(_page(record), folder)


@dataclass(frozen=True)
class RunRecord(figures.Drawings):
    """A run and how its report names things.

    Attributes:
        run: Finished.
        faces: Gives pixels by id; None leaves the gallery of mistakes out.
    """

    run: Run
    faces: FacesOf | None

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json."""
        return self.run.metrics

    @property
    def faces_words(self) -> str:
        """What the scores are scores on."""
        return split_faces(self.metrics)

    @property
    def headline_words(self) -> str:
        """What the headline scores are scores of."""
        return PREDICTIONS[self.metrics["headline"]]

    @property
    def predictions_by(self) -> list[dict]:
        """Scores of all ways to predict, each with its `name`."""
        answers = self.metrics["answers"].items()
        return [{"key": key, "name": PREDICTIONS.get(key, key), **scores} for key, scores in answers]

    @property
    def training(self) -> Mapping[str, Mapping]:
        """Stage -> how it was trained."""
        return self.metrics["training"]

    @property
    def flat(self) -> bool:
        """Whether the headline predicts all emotions at once, so that stages are implied."""
        return self.metrics["headline"] in (FLAT, POOLED)

    def stage_title(self, name: str) -> str:
        """A stage in a heading."""
        if name in (FLAT, TRUNK):
            return "Flat model" if name == FLAT else "Shared trunk"
        kind = "gate" if name == self.run.taxonomy.gate else "specialist"
        return f"Implied {kind}: {name}" if self.flat else f"{kind.capitalize()}: {name}"

    def in_training_order(self, tables: Mapping[str, pd.DataFrame]) -> list[tuple[str, pd.DataFrame]]:
        """Stages and their tables, the gate first."""
        names = [*self.training, *tables]
        return sorted(tables.items(), key=lambda item: names.index(item[0]))


def _page(record: RunRecord) -> Page:
    metrics = record.metrics
    sections = [
        _summary(record),
        _splits(record),
        _predictions(record),
        tuned_section(metrics),
        _emotions(record),
        _confusions(record),
        robustness_section(record, metrics),
        _stages(record),
        _calibration(record),
        coverage_section(record, metrics),
        _mistakes(record),
        _training(record),
        _features(record),
        _data(record),
        _cost(record),
        _configuration(record),
        _repeat(record),
    ]
    kind = _KINDS.get(metrics["mode"], metrics["mode"])
    split = metrics.get("split", "test")
    words = f"the {split} split{'s' * (' and ' in split)}" if split else "all faces: the data has no splits"
    subtitle = f"{kind}. Evaluated on {words}."
    return report(str(metrics["run"]), subtitle, sections, synthetic=record.synthetic)


def _summary(record: RunRecord) -> Section:
    metrics, scores = record.metrics, record.run.scores
    tiles = [Tile(title, percent(scores[name]), _interval_words(scores, name)) for name, title in MEASURES.items()]
    ece = Tile("Calibration error (ECE)", decimals(scores.get("ece")), f"lower is better; n = {scores['n']:,}")
    blocks: list[Block] = [Tiles((*tiles, ece)), Text(_summary_words(record))]
    if line := majority_line(scores):
        blocks.append(Warn(line))
    blocks += limited([metrics["data"].get("limit")])
    if origin := metrics.get("trained_on"):
        source = origin.get("data", {}).get("dataset", "")
        text = f"The model is that of run {origin.get('run')}, trained on {source}; nothing was fitted here."
        drawn = " These are SYNTHETIC faces, drawn by the program."
        blocks.append(Warn(text + drawn) if "synthetic" in source else Text(text))
    if metrics.get("notes"):
        blocks += [Text("Notes of the run:"), Items(tuple(map(str, metrics["notes"])))]
    return Section("Summary", "", blocks)


def _interval_words(scores: Mapping, measure: str) -> str:
    bounds = span(scores, measure)
    return f"95 % interval {bounds}" if bounds else ""


def _summary_words(record: RunRecord) -> str:
    metrics, scores = record.metrics, record.run.scores
    faces = record.faces_words
    faces = f"synthetic {faces}" if record.synthetic else f"{faces} of {metrics['data']['dataset']}"
    bounds = _interval_words(scores, "top1")
    common = max(scores["per_class"], key=lambda row: row["support"])
    once = "Each run was trained once" if metrics["mode"] == "ensemble" else f"One training run, seed {metrics['seed']}"
    excluded = f"Left out everywhere: {', '.join(metrics['excluded'])}. " if metrics.get("excluded") else ""
    return (
        f"On {scores['n']:,} {faces} the {record.headline_words} "
        f"predicts the right one of {len(scores['classes'])} emotions for {percent(scores['top1'])} of them"
        f"{f' ({bounds})' if bounds else ''}; always predicting {common['class']} would be right for "
        f"{percent(common['support'] / scores['n'])}. "
        f"Balanced accuracy, where every emotion counts alike, is {percent(scores['balanced_accuracy'])} "
        f"(chance: {percent(1 / len(scores['classes']))}); macro F1 is {percent(scores['macro_f1'])}. "
        f"{excluded}{once}: the interval covers the choice of {record.faces_words}, not how much another seed would "
        "differ."
    )


def _splits(record: RunRecord) -> Section:
    """The scores in each official split, where an evaluation took several together."""
    rows = [{"name": split, **scores} for split, scores in record.metrics.get("splits", {}).items()]
    rows.append({"name": "together", **record.run.scores})
    return Section(
        "Split by split",
        "What official split the faces stand in; all other sections take them together.",
        [Table.of(rows, {"Split": ("name", str), "Faces": ("n", whole), **_SPANS})] if len(rows) > 1 else [],
    )


def _predictions(record: RunRecord) -> Section:
    rows = record.predictions_by
    strong = ([row["key"] for row in rows].index(record.metrics["headline"]),)
    further = {"Top-2 %": ("top2", points), "Top-3 %": ("top3", points), "Weighted F1 %": ("weighted_f1", points)}
    further_columns = {"Prediction": ("name", str), **further, "ECE": ("ece", decimals), "NLL": ("nll", decimals)}
    caption = (
        f"Scores of each prediction in percent, n = {record.run.scores['n']:,} {record.faces_words}; 95 % bootstrap "
        "intervals in brackets"
    )
    image = record.draw(
        "answers",
        lambda ax: figures.intervals(ax, [(row["name"], row) for row in rows]),
        title="Predictions with 95 % intervals",
        alt="Top-1 accuracy, balanced accuracy and macro F1 of each prediction with 95 % bootstrap intervals",
        width=5.4,
        height=1.2 + 0.56 * len(rows),
    )
    return Section(
        "Predictions",
        "Higher is better, but for ECE (how far confidence is from the share that is right) and NLL (how improbable "
        "the model found the true emotion). The bold row is the headline.",
        [
            Table.of(rows, {"Prediction": ("name", str), **_SPANS}, caption=caption, strong=strong),
            Table.of(rows, further_columns, caption="Further scores of the same predictions", strong=strong),
            Items([PREDICTION_NOTES[row["key"]] for row in rows if row["key"] in PREDICTION_NOTES]),
            image,
        ],
    )


def _emotions(record: RunRecord) -> Section:
    per_class = record.run.scores["per_class"]
    columns = {"Emotion": ("class", str), "Precision %": ("precision", points), "Recall %": ("recall", points)}
    columns |= {"F1 %": ("f1", points), "Faces": ("support", whole)}
    image = record.draw(
        "per_class",
        lambda ax: figures.class_scores(ax, per_class),
        title="Precision and recall by emotion",
        alt="Precision (hollow) and recall (filled) of each emotion; n is its number of faces",
        width=5.2,
        height=1.1 + 0.36 * len(per_class),
    )
    caption = f"Precision, recall and F1 of each emotion by the headline predictions ({record.headline_words})"
    return Section(
        "Emotion by emotion",
        "Recall is the share of an emotion's faces that was found, precision the share of its predictions that was "
        "right. With few faces a single one moves the number a lot.",
        [Beside((Table.of(per_class, columns, caption=caption), image))],
    )


def _confusions(record: RunRecord) -> Section:
    blocks: list[Block] = [_draw_confusion(record, "confusion", "Confusion of emotions", record.run.scores)]
    if worst := worst_confusions(record.run.scores):
        blocks += [Text("Most frequent confusions, as shares of the true emotion:"), Items(worst)]
    return Section(
        "Confusion",
        "Each row is a true emotion and sums to 100 %; the numbers below are faces. The diagonal is right.",
        blocks,
    )


def worst_confusions(scores: Mapping) -> tuple[str, ...]:
    """The three largest shares of an emotion that are taken for another one, in words."""
    names, shares = scores["classes"], normalize(scores["confusion"], "l1")
    np.fill_diagonal(shares, 0)
    rows, columns = np.unravel_index(np.argsort(-shares, axis=None, kind="stable")[:3], shares.shape)
    return tuple(
        f"{names[row]} taken for {names[column]}: {percent(shares[row, column])} "
        f"({whole(scores['confusion'][row][column])} of {whole(sum(scores['confusion'][row]))} faces)"
        for row, column in zip(rows, columns, strict=True)
        if shares[row, column] > 0
    )


def _draw_confusion(record: RunRecord, name: str, title: str, scores: Mapping) -> Image:
    classes = scores["classes"]
    side = max(1.4 + 0.5 * len(classes), 3.0)
    return record.draw(
        name,
        lambda ax: figures.confusion_matrix(ax, scores["confusion"], classes),
        title=title,
        alt=f"{title}: share and number of the faces of each true class (rows) by predicted class (columns)",
        width=side,
        height=side - 0.15,
    )


def _stages(record: RunRecord) -> Section:
    stages = record.metrics["stages"]
    columns = {"Stage": ("name", str), "Classes": ("classes", ", ".join), "Faces": ("n", whole), **_SPANS}
    images = [
        _draw_confusion(record, f"confusion_{name}", record.stage_title(name), scores)
        for name, scores in stages.items()
    ]
    caption = "Scores of each stage in percent, on all faces of its classes; 95 % bootstrap intervals in brackets"
    if record.flat:
        caption = f"Implied by the {record.headline_words}: "
        caption += "probabilities summed by group, and renormalised within the true group"
    rows = [{"name": name, **scores} for name, scores in stages.items()]
    trunk = " Gate and specialists are heads of one network, trained together on the composed probabilities."
    return Section(
        "Stages",
        f"The gate ({record.run.taxonomy.gate}) is evaluated on all faces; each specialist on ALL faces of its group, "
        "also those that the gate would have sent elsewhere, so no stage hides another's errors."
        f"{trunk if record.metrics.get('trunk') == SHARED else ''}",
        [
            Table.of(rows, columns, caption=caption, words=(0, 1)),
            Images(images),
            _path_table(record),
            Text(
                "Hierarchical precision and recall give part of the credit for a prediction in the right group. "
                "They equal each other where every group holds several emotions."
            ),
        ],
    )


def _path_table(record: RunRecord) -> Table:
    columns = {
        "Prediction": ("name", str),
        "Right group %": lambda row: "given" if row["key"] == "oracle" else with_span(row.get("group") or {}, "top1"),
    }
    credit = {
        f"Hier. {title} %": lambda row, key=key: points((row.get("hierarchical") or {}).get(key))
        for title, key in {"precision": "precision", "recall": "recall", "F1": "f1"}.items()
    }
    caption = "The path to the prediction: the right group, and credit for part of the path"
    return Table.of(record.predictions_by, columns | credit, caption=caption)


def _calibration(record: RunRecord) -> Section:
    parts = {"reliability": ("Emotions", record.run.scores)}
    parts |= {
        f"reliability_{name}": (record.stage_title(name), scores) for name, scores in record.metrics["stages"].items()
    }
    images = [
        record.draw(
            name,
            partial(figures.reliability, bins=scores["reliability"], ece=scores["ece"]),
            title=f"Reliability. {title}",
            alt=f"{title}: share of right predictions by stated confidence; larger dots hold more faces",
            width=3.9,
            height=3.8,
        )
        for name, (title, scores) in parts.items()
        if scores.get("reliability") and known(scores.get("ece"))
    ]
    columns = {"Stage": ("name", str), "Temperature": ("temperature", decimals)}
    columns |= {"ECE before": ("ece_before", decimals), "ECE after": ("ece_after", decimals)}
    rows = [{"name": name, **stage} for name, stage in record.training.items() if known(stage.get("temperature"))]
    table = Table.of(rows, columns, caption="Temperatures, fitted and measured on validation faces")
    return Section(
        "Calibration",
        "A dot on the dashed line means that predictions with a confidence of, for example, 70 % are right 70 % of the "
        "time; below the line the model is overconfident. Larger dots hold more faces.",
        [*([Images(images)] if images else []), *([table] if rows else [])],
    )


def _mistakes(record: RunRecord) -> Section:
    title, predictions = "Most confident mistakes", record.run.predictions
    worst = confident_mistakes(predictions, GALLERY_FACES)
    if record.faces is None or worst.empty:
        none = Text("There is none: every face was predicted correctly.")
        return Section(title, "", [] if record.faces is None else [none])
    pixels = list(record.faces(worst["row"].tolist()))
    captions = []
    for face in worst.itertuples():
        words, share = f"{face.true} → {face.predicted}", f"{100 * face.confidence:.0f} %"
        captions.append((f"{words}\n{share}", words, f"{share} sure"))
    wrong = int((predictions["true"] != predictions["predicted"]).sum())
    return Section(
        title,
        f"Label in the data → prediction, with the probability that the model gave it: the {len(worst)} surest of "
        f"{wrong:,} mistakes. Check the labels of such faces too: some are doubtful.",
        [figures.picture_gallery(record, "mistakes", title, pixels, captions)],
    )


def confident_mistakes(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """The `count` wrong predictions with the highest probability, surest first.

    Args:
        predictions: Columns `row`, `true`, `predicted` and `p_<emotion>`.
        count: At most so many.

    Returns:
        Columns `row`, `true`, `predicted`, `confidence`.
    """
    wrong = predictions[predictions["true"] != predictions["predicted"]]
    sure = [row[f"p_{row['predicted']}"] for _, row in wrong.iterrows()]
    table = wrong[["row", "true", "predicted"]].assign(confidence=np.array(sure, dtype=float))
    return table.sort_values("confidence", ascending=False, kind="stable").head(count).reset_index(drop=True)


def _training(record: RunRecord) -> Section:
    histories = record.in_training_order(record.run.history)
    images = [_draw_curves(record, stage, history) for stage, history in histories if not history.empty]
    blocks: list[Block] = [Images(images)] if images else []
    if validation := record.metrics.get("validation"):
        blocks.append(
            Text(
                f"On the {whole(validation.get('n'))} validation faces the run reaches top-1 "
                f"{percent(validation.get('top1'))}, balanced accuracy {percent(validation.get('balanced_accuracy'))} "
                f"and macro F1 {percent(validation.get('macro_f1'))}. Epochs and temperatures were chosen "
                "on these faces, so these numbers are optimistic."
            )
        )
    return Section(
        "Training",
        "Training figures are taken on augmented faces while the weights still change, so they may lie below "
        f"validation. The kept epoch was chosen on validation faces; the {record.faces_words} had no part in it.",
        blocks,
    )


def _draw_curves(record: RunRecord, stage: str, history: pd.DataFrame) -> Image:
    name, title = f"curves_{stage}", f"Training. {record.stage_title(stage)}"
    own = record.training.get(stage) or record.run.stage_records.get(stage, {}).get("record") or {}
    with record.drawing(name, title, 4.5, 4.4, rows=2, sharex=True) as axes:
        for ax, measure in zip(axes.flat, ("loss", "accuracy"), strict=True):
            figures.learning_curve(ax, history, measure=measure, best_epoch=own.get("best_epoch"), ylabel=measure)
        axes[1, 0].set_xlabel("epoch")
        axes[0, 0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderpad=0, handlelength=1.4)
    return Image(record.figure(name), f"Loss and accuracy of {stage} by epoch, train and validation faces", 4.5)


def _features(record: RunRecord) -> Section:
    images = [
        record.draw(
            f"features_{stage}",
            partial(figures.feature_map, points=table, note=_note(record, table)),
            title=f"Learned features. {record.stage_title(stage)}",
            width=4.9,
            height=3.7,
        )
        for stage, table in record.in_training_order(record.run.features)
    ]
    return Section(
        "Learned features",
        "What each stage gives to its last layer, in two dimensions (t-SNE, van der Maaten and Hinton, 2008): faces "
        "side by side have similar features. How large a cluster is, and how far from another, means nothing.",
        [Images(images)] if images else [],
    )


def _note(record: RunRecord, table: pd.DataFrame) -> str:
    total = int(record.run.predictions["true"].isin(table["emotion"].unique()).sum())
    several = len(table) < total
    choice, how = (f" of {total:,}", ", chosen in proportion to the emotions") if several else ("", "")
    shown = f"n = {len(table):,}{choice} {record.faces_words}{how}; seed {record.metrics['seed']}."
    return f"{shown}\nt-SNE keeps neighbours, not distances."


def _data(record: RunRecord) -> Section:
    data, taxonomy = record.metrics["data"], record.metrics["taxonomy"]
    named = {"test": record.metrics.get("split", "test") or "all"}  # an evaluation may be of other faces
    pixels = data.get("pixels")  # None where the run was made before pixels were compared
    values = {
        "Data set": data["dataset"],
        "Path": data.get("path"),
        "Fingerprint of the faces": data.get("fingerprint"),
        "Fingerprint of the test rows": record.metrics.get("test_fingerprint"),
        "Rows": ", ".join(f"{named.get(split, split)} {n:,}" for split, n in data.get("rows", {}).items() if n),
        "Origin of the splits": data.get("split_origin") or data.get("splits"),
        "Images left out as bad": data.get("bad"),
        "Counts and pixels": pixels and ("; ".join(pixels["known"]) or "no published figures to compare with"),
        "Limit": f"{data['limit']:,} rows of each split" if data.get("limit") else "none",
        "Taxonomy": f"{taxonomy.get('name', '')} ({group_words(taxonomy)})",
        "Emotions left out": record.metrics.get("excluded") or "none",
    }
    counts = {named.get(split, split): data["counts"][split] for split in _SPLITS if data.get("counts", {}).get(split)}
    caption = "The faces, their splits and the taxonomy"
    blocks: list[Block] = [facts({name: value for name, value in values.items() if known(value)}, caption=caption)]
    if counts:
        table = pd.DataFrame(counts).reindex(record.metrics["emotions"], fill_value=0).fillna(0)
        blocks.append(Beside((_draw_counts(record, table), _counts_table(table))))
    return Section(
        "Data",
        "Two runs with the same fingerprint saw the same faces. Rare emotions weigh little in top-1 accuracy "
        "and fully in balanced accuracy and macro F1.",
        blocks,
    )


def _draw_counts(record: RunRecord, counts: pd.DataFrame) -> Image:
    height = 0.5 + counts.shape[1] * (0.4 + 0.235 * len(counts))
    with record.drawing("counts", "Faces by emotion and split", 4.8, height, rows=counts.shape[1]) as axes:
        for ax, split in zip(axes.flat, counts, strict=True):
            figures.class_counts(ax, counts[split].to_dict(), split=split)
    return Image(record.figure("counts"), "Number of faces of each emotion in each split", 4.8)


def _counts_table(counts: pd.DataFrame) -> Table:
    total = pd.concat([counts, counts.sum().to_frame("all").T])
    rows = [(str(emotion), *map(whole, row)) for emotion, row in zip(total.index, total.to_numpy(), strict=True)]
    return Table(("Emotion", *counts), rows, "Number of faces of each emotion in each split", strong=(len(counts),))


def _cost(record: RunRecord) -> Section:
    cost, training = record.metrics["cost"] or {}, record.training
    if record.metrics.get("trunk") == SHARED:  # each stage's record is that of the one training
        training = {"one network of all stages": next(iter(training.values()), {})}
    rows = [{"name": name, **stage} for name, stage in training.items()]
    if cost:
        total = {key: cost.get(f"train_{key}") for key in ("cpu_seconds", "wall_seconds")}
        rows.append({"name": "whole run", **cost, **total})
        earlier = cost.get("earlier") or {}
        rows += [{"name": f"before it: {name}", "cpu_seconds": seconds} for name, seconds in earlier.items()]
    columns = {
        "Stage": ("name", str),
        "Parameters": ("parameters", millions),
        "Multiply-adds": ("multiply_adds", millions),
    }
    columns |= {"CPU-seconds": ("cpu_seconds", whole), "CPU time": ("cpu_seconds", duration)}
    columns |= {"Wall time": ("wall_seconds", duration)}
    caption = "What training took, and the size of what was trained"
    strong = (len(training),) if cost else ()
    blocks: list[Block] = [Table.of(rows, columns, caption=caption, strong=strong)] if rows else []
    latency = cost.get("latency_ms") or {}
    if known(latency.get("median")):
        machine = record.run.environment.get("processor") or "the machine below"
        if record.metrics["mode"] == "evaluation":
            machine = "the machine that trained the run"
        blocks.append(
            Text(
                f"The prediction for one face alone takes {latency['median']:.1f} ms on {machine} "
                f"(median; 10th to 90th percentile {latency['p10']:.1f} to {latency['p90']:.1f} ms)."
            )
        )
    return Section(
        "Cost",
        "CPU-seconds add up all cores and compare runs better than wall time. Multiply-adds are those of one face "
        f"through the network.{_EARLIER_WORDS if cost.get('earlier') else ''}",
        blocks,
    )


def _configuration(record: RunRecord) -> Section:
    columns = {
        "Stage": ("name", str),
        "Model": lambda stage: plain(model_words(stage)),
        "Epochs": _epochs,
        "Kept": ("best_epoch", plain),
        "Batch": _batch,
        "Balance": ("balance", plain),
        "Temperature": ("temperature", decimals),
        "Prior correction": ("prior_correction", plain),
        "Rows": ("rows", whole),
        "Drawn": ("drawn_rows", whole),
    }
    rows = [{"name": name, **stage} for name, stage in record.training.items()]
    blocks = [Table.of(rows, columns, caption="What each stage was trained with", words=(0, 1))] if rows else []
    usual = dict(flatten(RunConfig().to_dict()))
    settings = [pair for pair in flatten(read_json(record.folder / CONFIG)) if pair not in usual.items()]
    blocks.append(facts(settings, "Setting", "Settings that are not the default's; config.json holds all"))
    return Section(
        "Configuration",
        "What was set, and what each stage was trained with. More rows drawn than held: rare emotions are repeated.",
        blocks,
    )


def _batch(stage: Mapping) -> str:
    """The faces of an update: of one batch, or of several whose gradients gather."""
    size, batches = stage.get("batch_size"), stage.get("accumulate") or 1
    return plain(size) if batches == 1 or not known(size) else f"{size * batches} ({batches} batches of {size})"


def _epochs(stage: Mapping) -> str:
    run, planned = stage.get("epochs_run"), stage.get("epochs")
    return plain(run) if planned in (run, None) else f"{plain(run)} of {plain(planned)}"


def _repeat(record: RunRecord) -> Section:
    command, caption = record.metrics.get("command"), "The machine and the versions of the training"
    environment = flatten(record.run.environment)
    return how_to_repeat(
        *([str(command)] if command else []),
        *([facts(environment, "Environment", caption)] if environment else []),
        hint="The command below, in the project's folder, at the commit and with the versions below.",
    )
