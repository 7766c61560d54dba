"""The command `slr`: its subcommands, each in a file of its own.

Heavy packages are imported inside the commands, so that --help comes at once.
"""

from signwave import command
from signwave.options import examples, new_app
from slr.commands import (
    align,
    captions,
    evaluate,
    features,
    index,
    islr,
    lm,
    map,
    prepare,
    recognize,
    relabel,
    score,
    search,
    spot,
)

app = new_app("slr", "Sign language: prepare corpora, recognise and score signs, index and search sign videos.")
app.command("prepare", epilog=examples(*prepare.EXAMPLES))(prepare.prepare)
app.command("audit", epilog=score.AUDIT_EXAMPLES)(score.audit)
app.command("align", epilog=align.ALIGN_EXAMPLES)(align.align)
app.command("align-eval", epilog=align.EVAL_EXAMPLES)(align.align_eval)
app.command("islr", epilog=islr.EXAMPLES)(islr.islr)
app.command("map", epilog=map.EXAMPLES)(map.map_signs)
app.command("relabel", epilog=relabel.EXAMPLES)(relabel.relabel)
app.add_typer(captions.captions_app, name="captions")
app.command("features")(features.features)
app.command("recognize", epilog=examples(*recognize.EXAMPLES))(recognize.recognize)
app.command("score", epilog=score.SCORE_EXAMPLES)(score.score)
app.command("compare", epilog=score.COMPARE_EXAMPLES)(score.compare)
app.add_typer(lm.lm_app, name="lm")
app.command("spot", epilog=spot.EXAMPLES)(spot.spot)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.add_typer(index.index_app, name="index")
app.command("search", epilog=search.EXAMPLES)(search.search)


def main() -> int:
    """Run the command line; the return value is the exit code."""
    return command.run(app)
