"""A small recogniser from a large one, on any prepared corpus: half of its layers, CTC and the teacher's posteriors.

    python recipes/asr/folder_ctc.py data.manifest_dir=MANIFESTS model.donor_dir=XLSR name=teacher
    python recipes/asr/student_ctc.py data.manifest_dir=MANIFESTS distillation.teacher_dir=runs/teacher

distillation.every=3 keeps a third of the layers. A teacher of pieces: data.tokenizer=runs/teacher.
No result yet on a corpus of size; --smoke shows that it trains.
"""

from dataclasses import dataclass

from asr.distillation_recipe import StudentCtc
from signwave.recipe import main


@dataclass
class SmallCtc(StudentCtc):
    """Every second layer."""


if __name__ == "__main__":
    main(SmallCtc)
