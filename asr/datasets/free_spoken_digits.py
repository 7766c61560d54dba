"""Free Spoken Digit Dataset: English digits, 6 speakers, 50 takes of each digit, 8 kHz, 3,000 clips, 0.4 h.

Licence: CC BY-SA 4.0. Source: Jakobovski/free-spoken-digit-dataset on GitHub. Metric: accuracy, which with one word a
clip is 1 - WER unless words are inserted. Takes 0-4 are the official test set.

Layout: recordings/DIGIT_SPEAKER_TAKE.wav. Two protocols: held-out takes of known speakers (default), or, with
`test_speakers=`, speakers that training has never heard.

    asr prepare free-spoken-digits free_spoken_digit_dataset OUT
    asr prepare free-spoken-digits free_spoken_digit_dataset OUT test_speakers=theo,yweweler
"""

import re
from collections.abc import Iterator
from pathlib import Path

from asr.corpora.tables import chosen
from asr.text.numbers import spell_number
from signwave.errors import UserError
from signwave.inputs import files_below
from signwave.manifest import Clip
from signwave.prepare import Problem, Row

_NAME = re.compile(r"(\d)_([a-z]+)_(\d+)")


def prepare(
    raw: Path, *, test_takes: str = "0-4", dev_takes: str = "10-11", test_speakers: str = "", dev_speakers: str = ""
) -> Iterator[Row | Problem]:
    """Yield every recording with its split.

    Args:
        raw: the folder that holds `recordings`, or that folder.
        test_takes: takes that are "test", such as 0-4 or 0,3,7; not used where `test_speakers` are named.
        dev_takes: takes of the other recordings that are "dev"; not used where `dev_speakers` are named.
        test_speakers: comma list of speakers whose recordings are all "test".
        dev_speakers: comma list of speakers whose recordings are all "dev".

    Yields:
        Rows with the digit's name as text and `person` = speaker; or problems.

    Raises:
        UserError: an unknown speaker, a wrong range, or no recording that would be "test".
    """
    folder = raw / "recordings" if (raw / "recordings").is_dir() else raw
    named = [(path, _NAME.fullmatch(path.stem)) for path in files_below(folder, {".wav"})]
    speakers = sorted({match[2] for _, match in named if match})
    test = set(chosen(test_speakers, speakers, where=folder, what="speaker")) if test_speakers else set()
    dev = set(chosen(dev_speakers, speakers, where=folder, what="speaker")) if dev_speakers else set()
    held_out = set() if test else parse_numbers(test_takes)
    chosen_by = parse_numbers(dev_takes) if not dev else set()
    if not test and not any(match and int(match[3]) in held_out for _, match in named):
        raise UserError(f"{folder}: holds no take of test_takes={test_takes}; name others, such as test_takes=5-9")
    for path, match in named:
        if match is None:
            yield Problem(str(path), "expected a name such as 7_jackson_32.wav", "invalid")
            continue
        digit, speaker, take = int(match[1]), match[2], int(match[3])
        split = "train"
        if speaker in test or take in held_out:
            split = "test"
        elif speaker in dev or take in chosen_by:
            split = "dev"
        text = spell_number(digit)
        clip = Clip(
            id=path.stem, path=str(path), kind="audio", text=text, language="en", person=speaker, group=text,
            split=split,
        )  # fmt: skip
        yield Row(clip, str(path))


def parse_numbers(text: str) -> set[int]:
    """Return the numbers of a list of numbers and ranges.

    >>> sorted(parse_numbers("0-2,7"))
    [0, 1, 2, 7]
    """
    numbers: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if part and not (first.isdigit() and (last.isdigit() or not dash)):
            raise UserError(f"takes '{text}': '{part}' is no number and no range; write them like 0-4,7")
        if part:
            numbers.update(range(int(first), int(last or first) + 1))
    return numbers
