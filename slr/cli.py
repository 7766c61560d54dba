"""The command `slr`: its subcommands, each in a file of its own.

Heavy packages are imported inside the commands, so that --help comes at once.
"""

from signwave import command
from signwave.options import examples, new_app
from slr import features_cli, lm_cli, prepare_cli, recognize_cli, score_cli, search_cli

app = new_app("slr", "Sign language: prepare corpora, recognise and score signs, index and search sign videos.")
app.command("prepare", epilog=examples(*prepare_cli.EXAMPLES))(prepare_cli.prepare)
app.command("audit", epilog=score_cli.AUDIT_EXAMPLES)(score_cli.audit)
app.command("features")(features_cli.features)
app.command("recognize", epilog=examples(*recognize_cli.EXAMPLES))(recognize_cli.recognize)
app.command("score", epilog=score_cli.SCORE_EXAMPLES)(score_cli.score)
app.command("compare", epilog=score_cli.COMPARE_EXAMPLES)(score_cli.compare)
app.add_typer(lm_cli.lm_app, name="lm")
app.add_typer(search_cli.index_app, name="index")
app.command("search")(search_cli.search)


def main() -> int:
    """Run the command line; the return value is the exit code."""
    return command.run(app)
