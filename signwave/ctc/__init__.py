"""CTC, from labels to times: checks, loss, decoders with language models, forced alignment, seconds and words."""

from signwave.ctc.align import Alignment, align
from signwave.ctc.beam import BeamOptions, beam_search
from signwave.ctc.compat import CTCBeamDecoder
from signwave.ctc.decode import Decoder, DecoderOptions, decode
from signwave.ctc.extra_tokens import ExtraTokens, Spec
from signwave.ctc.fusion import TokenFusion, WordFusion
from signwave.ctc.greedy import greedy
from signwave.ctc.hypothesis import Hypothesis
from signwave.ctc.labels import BLANK, STAR, check_labels, feasible, min_steps, required_steps
from signwave.ctc.lm import NgramLm
from signwave.ctc.loss import CtcLoss, ctc_loss
from signwave.ctc.times import Clock, words

__all__ = [
    "BLANK",
    "STAR",
    "Alignment",
    "BeamOptions",
    "CTCBeamDecoder",
    "Clock",
    "CtcLoss",
    "Decoder",
    "DecoderOptions",
    "ExtraTokens",
    "Hypothesis",
    "NgramLm",
    "Spec",
    "TokenFusion",
    "WordFusion",
    "align",
    "beam_search",
    "check_labels",
    "ctc_loss",
    "decode",
    "feasible",
    "greedy",
    "min_steps",
    "required_steps",
    "words",
]
