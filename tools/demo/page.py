"""The demo's report: one self-contained page, made from result files alone."""

from pathlib import Path
from typing import Any

import numpy as np
from results import LANGUAGE_NAMES, SEARCH_SPLIT
from steps import Demo

from signwave import manifest
from signwave.plots.curves import Bar, plot_rates, plot_training_curves, read_metrics
from signwave.plots.posteriors import Posteriors, plot_posteriors
from signwave.plots.retrieval import SheetHit, plot_contact_sheet
from signwave.report import Page, percent, percent_interval
from signwave.rundir import read_json

SYSTEMS = {
    "this model": "wer",
    "nearest recording, true boundaries": "neighbour_wer",
    "nearest centroid, true boundaries": "baseline_wer",
    "letters drawn by chance, true boundaries": "chance_wer",
}


def write(demo: Demo, figures: dict[str, Any], path: Path) -> None:
    """Write the page."""
    hardware = figures["environment"]["hardware"]
    page = Page(
        "Signwave: the main job on real input",
        lead=f"Made in {figures['seconds_total'] / 60:.1f} minutes on {hardware['num_cores']} cores "
        f"({hardware['cpu']}), {', '.join(hardware['gpus']) or 'no GPU'}. Intervals are 95 % bootstrap intervals.",
    )
    _signs(page, demo, figures["signs"])
    _search(page, demo, figures["search"])
    _speech(page, demo, figures)
    _languages(page, figures["languages"])
    page.heading("How it was made")
    page.table(["step", "state", "seconds"], [[s["name"], s["state"], s["seconds"]] for s in figures["steps"]])
    page.write(path)


def rates_of_signs(signs: dict[str, Any]) -> dict[str, list[Bar]]:
    """Bars of the letter error rates, a group per system."""
    groups: dict[str, list[Bar]] = {}
    for system, prefix in SYSTEMS.items():
        for kind in ("seen_recordings", "unseen_recordings"):
            name = f"{prefix}_{kind}"
            if name in signs:
                interval = signs.get(f"{name}_interval")
                groups.setdefault(system, []).append(Bar(kind.replace("_", " "), signs[name], _pair(interval)))
    return groups


def _pair(interval: Any) -> tuple[float, float] | None:
    return (float(interval[0]), float(interval[1])) if interval else None


def _signs(page: Page, demo: Demo, signs: dict[str, Any]) -> None:
    page.heading("Signs: fingerspelled words")
    page.paragraph(
        "Keypoints of real recordings from the installed package spoken-to-signed: each letter of each manual "
        "alphabet "
        "was recorded once. Words are joined from letters. The recogniser was trained on 13 alphabets and has to "
        "spell "
        "words it never saw: from recordings it knows, and from three alphabets, so three signers, it never saw."
    )
    page.figure(plot_rates(rates_of_signs(signs), title="letter error rate"), "Letters wrong per letter, in percent.")
    alphabets = sorted(key.removeprefix("wer_") for key in signs if key.startswith("wer_") and len(key) == 7)
    page.table(
        ["unseen alphabet", "this model", "nearest recording", "nearest centroid"],
        [[name, *(_rate(signs, f"{prefix}_{name}") for prefix in SYSTEMS.values())] for name in alphabets],
    )
    page.note(
        "The two comparisons are given the true boundaries of every letter, which no recogniser has. Letters "
        "that no training "
        "alphabet holds are not asked for. The three alphabets were looked at while settings were chosen, so their "
        "figures are slightly optimistic. Joined recordings have no coarticulation: real fingerspelling is harder."
    )
    for path in sorted((demo.out / "posteriors").glob("*.npz"))[:3]:
        page.figure(plot_posteriors(Posteriors.load(path)), f"{path.stem}: what the recogniser saw, and when.")
    clips = sorted((demo.out / "clips").glob("*.mp4"))
    page.clips([(path, _recognised(demo, path.stem)) for path in clips])
    _curves(page, demo.out / "signs")


def _recognised(demo: Demo, stem: str) -> str:
    path = demo.out / "glosses" / f"{stem}.json"
    return f"{stem} → {read_json(path)['text']}" if path.is_file() else stem


def _search(page: Page, demo: Demo, search: dict[str, Any]) -> None:
    page.heading("Search: text in three languages finds clips")
    page.paragraph(
        f"{search['num_clips_indexed']} fingerspelled performances stand in the index. A query is a word in "
        "English, German "
        "or Arabic; right is every clip of that concept, whichever language it spells."
    )
    header = ["query language", "R@1", "R@5", "chance R@1", "times chance"]
    page.table(
        header, [[LANGUAGE_NAMES.get(key, key), *_recalls(found)] for key, found in search["by_language"].items()]
    )
    page.paragraph(
        "R@1 over the clips that spell a word of one language alone; off the diagonal that is across languages:"
    )
    languages = list(search["by_language"])
    page.table(
        ["query in", *(f"clips spelling {LANGUAGE_NAMES.get(key, key)}" for key in languages)],
        [
            [
                LANGUAGE_NAMES.get(key, key),
                *(percent(found.get(f"spelled_{other}", float("nan"))) for other in languages),
            ]
            for key, found in search["by_language"].items()
        ],
    )
    page.paragraph("Harder: the same concepts in manual alphabets that training never saw, and concepts it never saw.")
    rows = [
        [split.replace("_", " "), LANGUAGE_NAMES.get(key, key), *_recalls(found)]
        for split, figures in search["other_splits"].items()
        for key, found in figures["by_language"].items()
    ]
    page.table(["held out", *header], rows)
    page.note(
        "Held out: each concept's performances in some alphabets (a concept spelled in one alphabet in training "
        "is looked for in "
        "another). The vocabulary is closed: apart from the last rows, every concept was met in training, with other "
        "performances. A high figure doesn't show that the model would find a word it has never met, least of "
        "all across languages."
    )
    _contact_sheet(page, demo)
    _curves(page, demo.out / "search")


def _recalls(found: dict[str, Any]) -> list[str]:
    chance = found["chance_at_1"]
    return [
        _rate(found, "recall_at_1"),
        _rate(found, "recall_at_5"),
        percent(chance, digits=2),
        f"{found['recall_at_1'] / chance:.0f}" if chance else "–",
    ]


def _contact_sheet(page: Page, demo: Demo) -> None:
    from signwave.media.drawing import draw_pose
    from signwave.media.poses import read_pose

    groups = {clip.id: (clip.group, clip.captions) for clip in manifest.read(demo.out / "gallery" / "manifest.jsonl")}
    rows = []
    for path in sorted((demo.out / "searches").glob("*.json")):
        answer = read_json(path)
        hits = []
        for hit in answer["hits"]:
            frames = list(draw_pose(read_pose(hit["path"], layout="hands"), size_px=(96, 96), fit=True))
            captions = groups[hit["id"]][1]
            right = _text(answer["query"]).casefold() in {text.casefold() for text in captions.values()}
            picture = np.ascontiguousarray(frames[len(frames) // 2].transpose(1, 2, 0))
            hits.append(SheetHit(picture, hit["id"].split("/")[0][:18], float(hit["score"]), right))
        rows.append((f"{path.stem[:2]}: {_text(answer['query'])}", hits))
    if rows:
        page.figure(plot_contact_sheet(rows), "Queries and their first hits, the middle frame of each.")


def _text(query: Any) -> str:
    return str(query.get("text", "")) if isinstance(query, dict) else str(query)


def _speech(page: Page, demo: Demo, figures: dict[str, Any]) -> None:
    speech = figures["speech"]
    page.heading("Speech: prompts held out from training")
    if speech["source"] is None:
        page.note(speech["reason"])
        return
    page.paragraph(
        f"Source: {speech['source']}. {60 * speech['hours_train']:.1f} minutes to train on; "
        f"{speech['num_test_recordings']} recordings ({speech['num_test_words']} words) held out. A CTC head on a "
        "small donor "
        "encoder, fine-tuned; transcribed by `asr transcribe` with an n-gram model of the training texts."
    )
    page.table(
        ["decoding", "WER", "CER"],
        [
            ["with n-gram model", percent_interval(speech["wer"], speech["wer_interval"]),
             percent_interval(speech["cer"], speech["cer_interval"])],
            ["greedy", percent(speech["wer_greedy"]), percent(speech["cer_greedy"])],
        ],
    )  # fmt: skip
    page.paragraph(
        f"Real-time factor of transcription: {speech['real_time_factor']:.2f}; below 1 is faster than real time."
    )
    page.table(["recording", "what was said", "what was written"], _transcripts(demo))
    page.note(
        "One professional voice in a studio, 8 kHz, and prompts that resemble each other: the figure says "
        "nothing about other "
        "voices, rooms or subjects. Intervals are over recordings of this one voice. An empty and a damaged file "
        "stood among "
        "the inputs: both were named and counted, the rest was done."
    )
    _curves(page, demo.out / "speech")


def _transcripts(demo: Demo, *, limit: int = 12) -> list[list[str]]:
    written = {path.stem: read_json(path)["text"] for path in (demo.out / "transcripts").rglob("*.json")}
    rows = []
    for clip in manifest.read(demo.speech_manifests / "test.jsonl.gz"):
        name = Path(clip.path).stem
        if name in written:
            rows.append([name, clip.text, written[name]])
    return rows[:limit]


def _languages(page: Page, languages: dict[str, Any]) -> None:
    page.heading("Persian, Arabic and Urdu: the multilingual path")
    rows = []
    for key in ("fa", "ar", "ur"):
        if f"cer_{key}" in languages:
            names = (f"cer_{key}", f"wer_{key}", f"cer_lm_{key}", f"wer_lm_{key}")
            rows.append([LANGUAGE_NAMES[key], *(percent(languages[name]) for name in names)])
    page.table(["language", "CER greedy", "WER greedy", "CER with n-gram", "WER with n-gram"], rows)
    page.note(
        "A synthesiser (espeak-ng) reads sentences made from templates. The figures show that one vocabulary, "
        "three normalisers and "
        "right-to-left text go through the whole chain; they say nothing about recordings of people."
    )


def _curves(page: Page, run: Path) -> None:
    page.figure(plot_training_curves(_worth_drawing(run)), f"Training of {run.name}.")


def _worth_drawing(run: Path) -> dict[str, Any]:
    shown = ("train/loss", "train/frame_loss", "train/grad_norm", "val/wer", "val/cer")
    return {name: series for name, series in read_metrics(run / "metrics.csv").items() if name in shown}


def _rate(figures: dict[str, Any], name: str) -> str:
    return percent_interval(figures[name], figures.get(f"{name}_interval")) if name in figures else "–"


__all__ = ["SEARCH_SPLIT", "rates_of_signs", "write"]
