"""The report of one run, section by section: words, tables and figures from its record."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image as Picture

from fer_hierarchy.hierarchy.config import SHARED
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.page import (
    SYNTHETIC,
    Beside,
    Block,
    Code,
    Face,
    Gallery,
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
    titled,
)
from fer_hierarchy.hierarchy.reports.tuned_section import tuned_section
from fer_hierarchy.hierarchy.taxonomy import FLAT, POOLED, TRUNK
from fer_hierarchy.hierarchy.wording import (
    ANSWER_NOTES,
    ANSWERS,
    UNKNOWN,
    decimals,
    duration,
    flatten,
    known,
    millions,
    model_words,
    percent,
    plain,
    points,
    span,
    whole,
    with_span,
)

GALLERY_FACES = 24
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class RunRecord:
    """What a run folder holds.

    Attributes:
        folder: The run folder.
        metrics: metrics.json.
        config: config.json, empty where it is missing.
        environment: environment.json, empty where it is missing.
        predictions: predictions.csv, one row a test face.
        histories: Stage -> history.csv.
        stages: Stage -> stage.json.
        features: Stage -> features.csv, where there is one.
    """

    folder: Path
    metrics: Mapping
    config: Mapping
    environment: Mapping
    predictions: pd.DataFrame
    histories: Mapping[str, pd.DataFrame]
    stages: Mapping[str, Mapping]
    features: Mapping[str, pd.DataFrame]

    @property
    def headline(self) -> dict:
        """The scores that the run stands for."""
        return self.metrics["answers"][self.metrics["headline"]]

    @property
    def flat(self) -> bool:
        """Whether the answer is over all emotions at once, so that stages are implied."""
        return self.metrics["headline"] in (FLAT, POOLED)

    @property
    def on_one_trunk(self) -> bool:
        """Whether one network answers for all stages of a hierarchy."""
        return self.metrics.get("trunk") == SHARED

    @property
    def gate(self) -> str:
        """The name of the stage that chooses the group."""
        return self.metrics["taxonomy"]["gate"]

    def figure(self, name: str) -> Path:
        """The path of a figure."""
        return self.folder / "figures" / f"{name}.png"

    def drawing(self, name: str, title: str, width: float, height: float, **grid: object):
        """`figures.drawing` into this run's folder, marked where the faces are synthetic."""
        synthetic = bool(self.metrics.get("synthetic"))
        return figures.drawing(self.figure(name), title=title, synthetic=synthetic, width=width, height=height, **grid)


def run_page(record: RunRecord, faces: Callable[[Sequence[str]], np.ndarray] | None) -> Page:
    """Draw the figures of a run and put its report together.

    Args:
        record: The run.
        faces: Ids of n faces -> (n, height, width, channels) uint8; None leaves the gallery of mistakes out.
    """
    metrics = record.metrics
    sections = [
        _summary(record),
        _answers(record),
        tuned_section(metrics),
        _emotions(record),
        _confusions(record),
        _stages(record),
        _calibration(record),
        *([] if faces is None else [_mistakes(record, faces)]),
        _training(record),
        _features(record),
        _data(record),
        _cost(record),
        _configuration(record),
        _repeat(record),
    ]
    kinds = {
        "hierarchical": "Hierarchical run: a gate chooses the group, a specialist the emotion",
        "flat": "Flat run: one network chooses among all emotions",
        "ensemble": "Ensemble: the geometric mean of what several runs say",
        "evaluation": "Evaluation: a saved run judged on other data",
    }
    subtitle = f"{kinds.get(metrics['mode'], metrics['mode'])}. Judged on the {metrics.get('split', 'test')} split."
    return Page(
        title=titled(str(metrics["run"]), synthetic=bool(metrics.get("synthetic"))),
        subtitle=subtitle,
        banner=SYNTHETIC if metrics.get("synthetic") else "",
        sections=[section for section in sections if section.blocks],
    )


def _summary(record: RunRecord) -> Section:
    metrics, scores = record.metrics, record.headline
    blocks: list[Block] = [
        Tiles(
            (
                Tile("Top-1 accuracy", percent(scores["top1"]), _interval_words(scores, "top1")),
                Tile(
                    "Balanced accuracy",
                    percent(scores["balanced_accuracy"]),
                    _interval_words(scores, "balanced_accuracy"),
                ),
                Tile("Macro F1", percent(scores["macro_f1"]), _interval_words(scores, "macro_f1")),
                Tile("Calibration error (ECE)", decimals(scores.get("ece")), f"lower is better; n = {scores['n']:,}"),
            )
        ),
        Text(_summary_words(record)),
    ]
    limit = metrics["data"].get("limit")
    if limit:
        blocks.append(
            Warn(f"A quick look, not a result: --limit kept at most {limit:,} rows of each split of the data.")
        )
    origin = metrics.get("trained_on") or {}
    if origin:
        source = origin.get("data", {}).get("dataset", "")
        warning = " These are SYNTHETIC faces, drawn by the program." if "synthetic" in source else ""
        text = f"The model is that of run {origin.get('run')}, trained on {source}; nothing was fitted here.{warning}"
        blocks.append(Warn(text) if warning else Text(text))
    if metrics.get("notes"):
        blocks += [Text("Notes of the run:"), Items(tuple(map(str, metrics["notes"])))]
    return Section("Summary", "", blocks)


def _interval_words(scores: Mapping, measure: str) -> str:
    bounds = span(scores, measure)
    return f"95 % interval {bounds}" if bounds else ""


def _summary_words(record: RunRecord) -> str:
    metrics, scores = record.metrics, record.headline
    drawn = "synthetic test faces" if metrics.get("synthetic") else f"test faces of {metrics['data']['dataset']}"
    bounds = _interval_words(scores, "top1")
    common = max(scores["per_class"], key=lambda row: row["support"])
    words = [
        f"On {scores['n']:,} {drawn} the {ANSWERS[metrics['headline']]} "
        f"names the right one of {len(scores['classes'])} emotions for {percent(scores['top1'])} of them"
        f"{f' ({bounds})' if bounds else ''}; always answering {common['class']} would be right for "
        f"{percent(common['support'] / scores['n'])}.",
        f"Balanced accuracy, where every emotion counts alike, is {percent(scores['balanced_accuracy'])} "
        f"(chance: {percent(1 / len(scores['classes']))}); macro F1 is {percent(scores['macro_f1'])}.",
    ]
    if metrics.get("excluded"):
        words.append(f"Left out everywhere: {', '.join(metrics['excluded'])}.")
    once = "Each run was trained once" if metrics["mode"] == "ensemble" else f"One training run, seed {metrics['seed']}"
    words.append(f"{once}: the interval covers the choice of test faces, not how much another seed would differ.")
    return " ".join(words)


def _answers(record: RunRecord) -> Section:
    answers = record.metrics["answers"]
    names = {name: ANSWERS.get(name, name) for name in answers}
    measures = ("top1", "balanced_accuracy", "macro_f1")
    rows = [(names[name], *(with_span(scores, m) for m in measures)) for name, scores in answers.items()]
    further = [
        (
            names[name],
            *(points(scores.get(key)) for key in ("top2", "top3", "weighted_f1")),
            *(decimals(scores.get(key)) for key in ("ece", "nll")),
        )
        for name, scores in answers.items()
    ]
    with record.drawing("answers", "Answers with 95 % intervals", 5.4, 1.2 + 0.56 * len(answers)) as axes:
        figures.intervals(axes[0, 0], [(names[name], scores) for name, scores in answers.items()])
    strong = (list(answers).index(record.metrics["headline"]),)
    caption = f"n = {record.headline['n']:,} test faces; 95 % bootstrap intervals in brackets"
    return Section(
        "Answers",
        "Higher is better, but for ECE (how far stated confidence is from the truth) and NLL (how surprised the model "
        "was by the true emotion). The bold row is the headline.",
        [
            Table(("Answer", "Top-1 %", "Balanced %", "Macro F1 %"), rows, caption=caption, strong=strong),
            Table(("Answer", "Top-2 %", "Top-3 %", "Weighted F1 %", "ECE", "NLL"), further, strong=strong),
            Items(tuple(ANSWER_NOTES[name] for name in answers if name in ANSWER_NOTES)),
            Images((Image(record.figure("answers"), "Top-1, balanced accuracy and macro F1 of each answer", 5.4),)),
        ],
    )


def _emotions(record: RunRecord) -> Section:
    per_class = record.headline["per_class"]
    rows = [
        (row["class"], points(row["precision"]), points(row["recall"]), points(row["f1"]), whole(row["support"]))
        for row in per_class
    ]
    height = 1.1 + 0.36 * len(rows)
    with record.drawing("per_class", "Precision and recall by emotion", 5.2, height) as axes:
        figures.class_scores(axes[0, 0], per_class)
    columns = ("Emotion", "Precision %", "Recall %", "F1 %", "Faces")
    return Section(
        "Emotion by emotion",
        "Recall is the share of an emotion's faces that was found, precision the share of its answers that was right. "
        "With few faces a single one moves the number a lot.",
        [
            Beside(
                (
                    Table(columns, rows, caption=f"Headline answer ({ANSWERS[record.metrics['headline']]})"),
                    Images((Image(record.figure("per_class"), "Precision and recall of each emotion", 5.2),)),
                )
            )
        ],
    )


def _confusions(record: RunRecord) -> Section:
    scores = record.headline
    image = _draw_confusion(record, "confusion", "Confusion of emotions", scores)
    blocks: list[Block] = [Images((image,))]
    worst = worst_confusions(scores)
    if worst:
        blocks += [Text("Most frequent confusions, as shares of the true emotion:"), Items(worst)]
    return Section(
        "Confusion",
        "Each row is a true emotion and sums to 100 %; the small numbers are faces. The diagonal is right.",
        blocks,
    )


def worst_confusions(scores: Mapping) -> tuple[str, ...]:
    """The three largest shares of an emotion that are taken for another one, in words."""
    counts = np.array(scores["confusion"], dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:3]
    cells = [np.unravel_index(i, shares.shape) for i in order]
    names = scores["classes"]
    return tuple(
        f"{names[row]} taken for {names[column]}: {percent(shares[row, column])} "
        f"({whole(counts[row, column])} of {whole(totals[row, 0])} faces)"
        for row, column in cells
        if shares[row, column] > 0
    )


def _draw_confusion(record: RunRecord, name: str, title: str, scores: Mapping) -> Image:
    classes = scores["classes"]
    side = max(1.4 + 0.5 * len(classes), 3.0)
    with record.drawing(name, title, side, side - 0.15) as axes:
        figures.confusion_matrix(axes[0, 0], scores["confusion"], classes)
    return Image(record.figure(name), f"{title}. Confusion matrix of true by predicted", side)


def _stages(record: RunRecord) -> Section:
    stages, answers = record.metrics["stages"], record.metrics["answers"]
    rows = [
        (
            name,
            ", ".join(scores["classes"]),
            whole(scores["n"]),
            with_span(scores, "top1"),
            with_span(scores, "balanced_accuracy"),
            with_span(scores, "macro_f1"),
        )
        for name, scores in stages.items()
    ]
    images = tuple(
        _draw_confusion(record, f"confusion_{name}", _stage_title(record, name), scores)
        for name, scores in stages.items()
    )
    spoken = ANSWERS.get(record.metrics["headline"], "")
    caption = f"Implied by the {spoken}: probabilities summed by group, and renormalised within the true group"
    columns = ("Stage", "Classes", "Faces", "Top-1 %", "Balanced %", "Macro F1 %")
    blocks: list[Block] = [
        Table(columns, rows, caption=caption if record.flat else "", words=(0, 1)),
        Images(images),
        _path_table(answers),
        Text(
            "Hierarchical precision and recall give part of the credit for an answer in the right group. "
            "They equal each other where every group holds several emotions."
        ),
    ]
    trunk = (
        " Gate and specialists are heads of one network, trained together on the composed answer." * record.on_one_trunk
    )
    return Section(
        "Stages",
        f"The gate ({record.gate}) is judged on all faces; each specialist on ALL faces of its group, "
        f"also those that the gate would have sent elsewhere, so no stage hides another's errors.{trunk}",
        blocks,
    )


def _stage_title(record: RunRecord, name: str) -> str:
    if name in (FLAT, TRUNK):
        return "Flat model" if name == FLAT else "Shared trunk"
    kind = "gate" if name == record.gate else "specialist"
    return f"Implied {kind}: {name}" if record.flat else f"{kind.capitalize()}: {name}"


def _path_table(answers: Mapping) -> Table:
    rows = [
        (
            ANSWERS.get(name, name),
            "given" if name == "oracle" else with_span(scores.get("group") or {}, "top1"),
            *(points((scores.get("hierarchical") or {}).get(key)) for key in ("precision", "recall", "f1")),
        )
        for name, scores in answers.items()
    ]
    columns = ("Answer", "Right group %", "Hier. precision %", "Hier. recall %", "Hier. F1 %")
    return Table(columns, rows, caption="The path to the answer: the right group, and credit for part of the path")


def _calibration(record: RunRecord) -> Section:
    parts = {"reliability": ("Answers", record.headline)}
    parts |= {
        f"reliability_{name}": (_stage_title(record, name), scores) for name, scores in record.metrics["stages"].items()
    }
    images = []
    for name, (title, scores) in parts.items():
        if not scores.get("reliability") or not known(scores.get("ece")):
            continue
        with record.drawing(name, f"Reliability. {title}", 3.9, 3.8) as axes:
            figures.reliability(axes[0, 0], scores["reliability"], ece=scores["ece"])
        images.append(Image(record.figure(name), f"Reliability diagram of {title}", 3.9))
    rows = [
        (name, decimals(stage.get("temperature")), decimals(stage.get("ece_before")), decimals(stage.get("ece_after")))
        for name, stage in (record.metrics.get("training") or {}).items()
        if known(stage.get("temperature"))
    ]
    blocks: list[Block] = [Images(tuple(images))] if images else []
    if rows:
        columns = ("Stage", "Temperature", "ECE before", "ECE after")
        blocks.append(Table(columns, rows, caption="Temperatures, fitted and measured on validation faces"))
    return Section(
        "Calibration",
        "A dot on the dashed line means that answers given with, say, 70 % confidence are right 70 % of the time; "
        "below the line the model is too sure of itself. Larger dots hold more faces.",
        blocks,
    )


def _mistakes(record: RunRecord, faces: Callable[[Sequence[str]], np.ndarray]) -> Section:
    worst = confident_mistakes(record.predictions, GALLERY_FACES)
    if worst.empty:
        return Section("Most confident mistakes", "", [Text("There is none: every test face was named rightly.")])
    pixels = np.asarray(faces(worst["row"].tolist()))
    columns = 6
    lines = -(-len(worst) // columns)
    with record.drawing(
        "mistakes", "Most confident mistakes", 6.6, 0.5 + 1.5 * lines, rows=lines, columns=columns
    ) as axes:
        for ax, image, row in zip(axes.flat, pixels, worst.itertuples(), strict=False):
            figures.face(ax, image, f"{row.true} → {row.predicted}\n{100 * row.confidence:.0f} %")
        for ax in axes.flat[len(worst) :]:
            ax.axis("off")
    gallery = tuple(
        Face(_png(image), f"{row.true} → {row.predicted}", f"{100 * row.confidence:.0f} % sure")
        for image, row in zip(pixels, worst.itertuples(), strict=True)
    )
    sheet = Image(record.figure("mistakes"), f"The {len(worst)} most confident mistakes", 6.6)
    wrong = int((record.predictions["true"] != record.predictions["predicted"]).sum())
    return Section(
        "Most confident mistakes",
        f"Label in the data → answer, with the probability that the model gave its answer: the {len(worst)} surest of "
        f"{wrong:,} mistakes. Labels of such faces are worth a look themselves: some are doubtful.",
        [Gallery(gallery, sheet)],
    )


def confident_mistakes(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """The `count` wrong answers with the highest probability, surest first.

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


def _png(pixels: np.ndarray) -> bytes:
    # Small faces are enlarged smoothly here, once, instead of by each browser in its own way.
    picture = Picture.fromarray(np.ascontiguousarray(figures.displayable(pixels)))
    scale = max(1, 144 // max(picture.size))
    picture = picture.resize((picture.width * scale, picture.height * scale), Picture.Resampling.BICUBIC)
    buffer = BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _training(record: RunRecord) -> Section:
    training = record.metrics.get("training") or {}
    images = []
    for stage, history in _in_training_order(record, record.histories):
        if history.empty:
            continue
        own = training.get(stage) or record.stages.get(stage, {}).get("record") or {}
        best = own.get("best_epoch")
        with record.drawing(
            f"curves_{stage}", f"Training. {_stage_title(record, stage)}", 4.5, 4.4, rows=2, sharex=True
        ) as axes:
            figures.learning_curve(axes[0, 0], history, measure="loss", best_epoch=best, ylabel="loss")
            figures.learning_curve(axes[1, 0], history, measure="accuracy", best_epoch=best, ylabel="accuracy")
            axes[1, 0].set_xlabel("epoch")
            axes[0, 0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderpad=0, handlelength=1.4)
        images.append(Image(record.figure(f"curves_{stage}"), f"Loss and accuracy of {stage} by epoch", 4.5))
    blocks: list[Block] = [Images(tuple(images))] if images else []
    validation = record.metrics.get("validation")
    if validation:
        blocks.append(
            Text(
                f"On the {whole(validation.get('n'))} validation faces the run reaches top-1 "
                f"{percent(validation.get('top1'))}, balanced accuracy {percent(validation.get('balanced_accuracy'))} "
                f"and macro F1 {percent(validation.get('macro_f1'))}. Epochs and temperatures were chosen "
                "on these faces, so these numbers lean to the good side."
            )
        )
    return Section(
        "Training",
        "Training figures are taken on augmented faces while the weights still change, so they may lie below "
        "validation. The kept epoch was chosen on validation faces; the test faces had no part in it.",
        blocks,
    )


def _in_training_order(record: RunRecord, tables: Mapping[str, pd.DataFrame]) -> list[tuple[str, pd.DataFrame]]:
    """Stages and their tables, the gate first."""
    names = [*(record.metrics.get("training") or {}), *tables]
    return sorted(tables.items(), key=lambda item: names.index(item[0]))


def _features(record: RunRecord) -> Section:
    images = []
    for stage, table in _in_training_order(record, record.features):
        title = f"Learned features. {_stage_title(record, stage)}"
        with record.drawing(f"features_{stage}", title, 4.9, 3.7) as axes:
            note = f"{_shown(record, table)}\nt-SNE keeps neighbours, not distances."
            figures.feature_map(axes[0, 0], table, note=note)
        images.append(Image(record.figure(f"features_{stage}"), f"t-SNE of the features of {stage}, by emotion", 4.9))
    return Section(
        "Learned features",
        "What each stage gives to its last layer, in two dimensions (t-SNE, van der Maaten and Hinton, 2008): faces "
        "side by side have similar features. How large a cluster is, and how far from another, means nothing.",
        [Images(tuple(images))] if images else [],
    )


def _shown(record: RunRecord, table: pd.DataFrame) -> str:
    total = int(record.predictions["true"].isin(table["emotion"].unique()).sum())
    choice = f" of {total:,}" if len(table) < total else ""
    how = ", chosen in proportion to the emotions" if choice else ""
    return (
        f"n = {len(table):,}{choice} {record.metrics.get('split', 'test')} faces{how}; seed {record.metrics['seed']}."
    )


def _data(record: RunRecord) -> Section:
    data, excluded = record.metrics["data"], record.metrics.get("excluded")
    counts = {split: data["counts"][split] for split in _SPLITS if data.get("counts", {}).get(split)}
    groups = "; ".join(f"{name}: {', '.join(held)}" for name, held in record.metrics["taxonomy"]["groups"].items())
    facts = {
        "Data set": data["dataset"],
        "Path": data.get("path"),
        "Fingerprint of the faces": data.get("fingerprint"),
        "Fingerprint of the test rows": record.metrics.get("test_fingerprint"),
        "Rows": ", ".join(f"{split} {count:,}" for split, count in data.get("rows", {}).items()),
        "Origin of the splits": data.get("split_origin") or data.get("splits"),
        "Images left out as bad": data.get("bad"),
        "Counts and pixels": _as_published(data.get("pixels")),
        "Limit": f"{data['limit']:,} rows of each split" if data.get("limit") else "none",
        "Taxonomy": f"{record.metrics['taxonomy'].get('name', '')} ({groups})",
        "Emotions left out": ", ".join(excluded) if excluded else "none",
    }
    rows = [(name, plain(value)) for name, value in facts.items() if known(value)]
    blocks: list[Block] = [Table(("Fact", "Value"), rows, words=(0, 1))]
    if counts:
        blocks.append(Beside((_draw_counts(record, counts), _counts_table(record, counts))))
    return Section(
        "Data",
        "Two runs with the same fingerprint saw the same faces. Rare emotions weigh little in top-1 accuracy "
        "and fully in balanced accuracy and macro F1.",
        blocks,
    )


def _as_published(pixels: Mapping | None) -> str | None:
    """What the run found about its data; None where it was made before pixels were compared."""
    return None if pixels is None else "; ".join(pixels["known"]) or "no published figures to compare with"


def _draw_counts(record: RunRecord, counts: Mapping[str, Mapping[str, int]]) -> Images:
    height = 0.5 + len(counts) * (0.4 + 0.235 * len(record.metrics["emotions"]))
    with record.drawing("counts", "Faces by emotion and split", 4.8, height, rows=len(counts)) as axes:
        for ax, (split, held) in zip(axes.flat, counts.items(), strict=True):
            figures.class_counts(ax, {e: held.get(e, 0) for e in record.metrics["emotions"]}, split=split)
    return Images((Image(record.figure("counts"), "Number of faces of each emotion in each split", 4.8),))


def _counts_table(record: RunRecord, counts: Mapping[str, Mapping[str, int]]) -> Table:
    rows = [
        (emotion, *(whole(held.get(emotion, 0)) for held in counts.values())) for emotion in record.metrics["emotions"]
    ]
    rows.append(("all", *(whole(sum(held.values())) for held in counts.values())))
    return Table(("Emotion", *counts), rows, strong=(len(rows) - 1,))


def _cost(record: RunRecord) -> Section:
    cost, training = record.metrics.get("cost") or {}, record.metrics.get("training") or {}
    columns = ("Stage", "Parameters", "Multiply-adds", "CPU-seconds", "CPU time", "Wall time")
    if record.on_one_trunk:  # each stage's record is that of the one training
        training = {"one network of all stages": next(iter(training.values()), {})}
    rows = [
        _cost_row(name, stage, stage.get("cpu_seconds"), stage.get("wall_seconds")) for name, stage in training.items()
    ]
    if cost:
        rows.append(_cost_row("whole run", cost, cost.get("train_cpu_seconds"), cost.get("train_wall_seconds")))
    blocks: list[Block] = [Table(columns, rows, strong=(len(rows) - 1,) if cost else ())] if rows else []
    latency = cost.get("latency_ms") or {}
    if known(latency.get("median")):
        blocks.append(
            Text(
                f"One face, answered alone, takes {latency['median']:.1f} ms on {_machine(record)} "
                f"(median; 10th to 90th percentile {latency['p10']:.1f} to {latency['p90']:.1f} ms)."
            )
        )
    return Section(
        "Cost",
        "CPU-seconds add up all cores and compare runs better than wall time. Multiply-adds are those of one face "
        "through the network.",
        blocks,
    )


def _cost_row(name: str, sizes: Mapping, cpu: float | None, wall: float | None) -> tuple[str, ...]:
    size = (millions(sizes.get("parameters")), millions(sizes.get("multiply_adds")))
    return (name, *size, whole(cpu), duration(cpu), duration(wall))


def _machine(record: RunRecord) -> str:
    if record.metrics["mode"] == "evaluation":
        return "the machine that trained the run"
    found = [v for k, v in flatten(record.environment) if k.rpartition(".")[2] in ("processor", "cpu") and v != UNKNOWN]
    return found[0] if found else "the machine below"


def _configuration(record: RunRecord) -> Section:
    blocks: list[Block] = []
    training = record.metrics.get("training") or {}
    if training:
        columns = ("Stage", "Model", "Epochs", "Kept", "Batch", "Balance", "Temperature", "Prior correction")
        columns += ("Rows", "Drawn")
        blocks.append(Table(columns, [_training_row(*item) for item in training.items()], words=(0, 1)))
    if record.config:
        pairs = [pair for pair in flatten(record.config) if pair[0] != "format"]
        caption = "All settings, as config.json holds them"
        blocks.append(Table(("Setting", "Value"), pairs, caption=caption, words=(0, 1)))
    return Section(
        "Configuration",
        "What was set, and what each stage was trained with. More rows drawn than held: rare emotions are repeated.",
        blocks,
    )


def _training_row(name: str, stage: Mapping) -> tuple[str, ...]:
    run, asked = stage.get("epochs_run"), stage.get("epochs")
    epochs = plain(run) if run == asked or asked is None else f"{plain(run)} of {plain(asked)}"
    texts = [plain(stage.get(key)) for key in ("best_epoch", "batch_size", "balance")]
    drawn = [whole(stage.get(key)) for key in ("rows", "drawn_rows")]
    correction = plain(stage.get("prior_correction"))
    return (name, plain(model_words(stage)), epochs, *texts, decimals(stage.get("temperature")), correction, *drawn)


def _repeat(record: RunRecord) -> Section:
    blocks: list[Block] = [Code(str(record.metrics["command"]))] if record.metrics.get("command") else []
    if record.environment:
        blocks.append(Table(("Environment", "Value"), flatten(record.environment), words=(0, 1)))
    return Section(
        "How to repeat this",
        "The command below, in the project's folder, at the commit and with the versions below.",
        blocks,
    )
