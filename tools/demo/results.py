"""The demo's figures, gathered from the files that its steps wrote: no figure is made here."""

from collections.abc import Sequence
from typing import Any

from lanes import Outcome
from steps import Demo

from signwave import manifest
from signwave.report import percent, percent_interval
from signwave.rundir import environment, read_json

LANGUAGE_NAMES = {"en": "English", "de": "German", "ar": "Arabic", "fa": "Persian", "ur": "Urdu"}
SEARCH_SPLIT = "held_performances"


def collect(demo: Demo, outcomes: Sequence[Outcome], *, seconds_total: float) -> dict[str, Any]:
    """Everything that results.json holds; rates are fractions."""
    return {
        "signs": _signs(demo),
        "search": _search(demo),
        "speech": _speech(demo),
        "languages": _languages(demo),
        "steps": [{"name": o.name, "state": o.state, "seconds": round(o.seconds, 1)} for o in outcomes],
        "seconds_total": round(seconds_total, 1),
        "environment": environment(),
    }


def _signs(demo: Demo) -> dict[str, Any]:
    run = read_json(demo.out / "signs" / "results.json")
    recognised = [read_json(path) for path in sorted((demo.out / "glosses").glob("*.json"))]
    rates = {name.removeprefix("test/"): value for name, value in run["metrics"].items() if name.startswith("test/")}
    return {**with_intervals(rates), "train_seconds": run["seconds"], "num_clips_recognised": len(recognised)}


def with_intervals(figures: dict[str, Any]) -> dict[str, Any]:
    """The same figures, with NAME_low and NAME_high joined to NAME_interval."""
    found: dict[str, Any] = {}
    for name, value in figures.items():
        if name.endswith("_low"):
            found[f"{name[:-4]}_interval"] = [value, figures[f"{name[:-4]}_high"]]
        elif not name.endswith("_high"):
            found[name] = value
    return found


def _search(demo: Demo) -> dict[str, Any]:
    run = read_json(demo.out / "search" / "results.json")
    held = run["figures"][SEARCH_SPLIT]
    found = {key: value for key, value in held.items() if key != "by_language"}
    others = {name: value for name, value in run["figures"].items() if name != SEARCH_SPLIT}
    return {
        **found,
        "by_language": held["by_language"],
        "other_splits": others,
        "train_seconds": run["seconds"],
        "num_clips_indexed": sum(1 for _ in manifest.read(demo.out / "gallery" / "manifest.jsonl")),
    }


def _speech(demo: Demo) -> dict[str, Any]:
    if not demo.has_speech():
        return {
            "source": None,
            "reason": "the English prompts can't be had on this machine (see logs/fetch_speech.log); "
            "python tools/demo --speech-folder DIR takes your own recordings",
        }
    score = read_json(demo.out / "score.json")
    run = read_json(demo.out / "speech" / "results.json")
    records = [read_json(path) for path in sorted((demo.out / "transcripts").rglob("*.json"))]
    done = [record for record in records if record["duration"] > 0]
    train = list(manifest.read(demo.speech_manifests / "train.jsonl.gz"))
    seconds = sum(record["duration"] for record in done)
    return {
        "source": str(demo.speech_folder) if demo.speech_folder else "asterisk-core-sounds-en, one professional voice",
        "wer": score["wer"],
        "wer_interval": score["interval_95"],
        "cer": score["cer"],
        "cer_interval": score["cer_interval_95"],
        "wer_greedy": run["metrics"]["test/wer"],
        "cer_greedy": run["metrics"]["test/cer"],
        "num_test_recordings": score["num_sentences"],
        "num_test_words": score["num_reference_tokens"],
        "hours_train": sum(clip.duration_seconds or 0.0 for clip in train) / 3600,
        "real_time_factor": sum(r["rtf"] * r["duration"] for r in done) / seconds if seconds else None,
        "train_seconds": run["seconds"],
    }


def _languages(demo: Demo) -> dict[str, Any]:
    run = read_json(demo.out / "languages" / "results.json")
    return {
        "source": "espeak-ng, synthesised",
        "train_seconds": run["seconds"],
        **{name.removeprefix("test/"): value for name, value in run["metrics"].items() if name.startswith("test/")},
    }


def summary(figures: dict[str, Any]) -> str:
    """The figures that matter, next to what they have to beat, as lines for a terminal."""
    signs, search, speech = figures["signs"], figures["search"], figures["speech"]
    lines = [
        "signs: letters wrong in unseen words",
        f"  of recordings seen in training      {_rate(signs, 'wer_seen_recordings')}   (to beat: 10 %)",
        f"  of alphabets never seen             {_rate(signs, 'wer_unseen_recordings')}   (to beat: 30 %)",
        f"  nearest centroid, true boundaries   {_rate(signs, 'baseline_wer_unseen_recordings')}",
        f"search: text → clip among {search['num_clips_indexed']}, chance R@1 "
        f"{percent(search['chance_at_1'], digits=2)}",
    ]
    for language, found in search["by_language"].items():
        lines.append(
            f"  {LANGUAGE_NAMES.get(language, language):8} R@1 {_rate(found, 'recall_at_1')}  R@5 "
            f"{_rate(found, 'recall_at_5')}"
            f"   (to beat: {percent(10 * found['chance_at_1'])})"
        )
    if speech["source"] is None:
        lines.append(f"speech: {speech['reason']}")
    else:
        lines += [
            f"speech: {speech['source']}; {60 * speech['hours_train']:.0f} minutes to train on",
            f"  WER {percent_interval(speech['wer'], speech['wer_interval'])}   (to beat: 49 %)   "
            f"CER {percent_interval(speech['cer'], speech['cer_interval'])}   (to beat: 16 %)",
            f"  real-time factor {speech['real_time_factor']:.2f} (below 1 is faster than real time)",
        ]
    names = {key.removeprefix("cer_"): value for key, value in figures["languages"].items() if key[:4] == "cer_"}
    shown = [f"{LANGUAGE_NAMES[key]} {percent(value)}" for key, value in names.items() if key in LANGUAGE_NAMES]
    lines.append(f"synthesised speech: CER {', '.join(shown)}")
    lines.append(f"seconds in all: {figures['seconds_total']:.0f}")
    return "\n".join(lines)


def _rate(figures: dict[str, Any], name: str) -> str:
    return percent_interval(figures[name], figures.get(f"{name}_interval"))
