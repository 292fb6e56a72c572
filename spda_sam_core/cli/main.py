"""`spda-sam COMMAND ...`: finds the command, runs it, and turns errors into one line and an exit status.

Commands are the entry points of the group `spda_sam.commands`, each a function of the arguments after its name: so
training brings its own, and the core knows nothing of them. `--help` reads what they say of themselves without
importing them, which would take seconds.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from spda_sam_core.runtimes.runtime import BackendError
from spda_sam_core.weights.files import CheckpointError

GROUP = "spda_sam.commands"
FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
TRACEBACK = "--traceback"

_HELP = """\
usage: spda-sam COMMAND ...

Instance segmentation without a click, on your own pictures.

commands (spda-sam COMMAND --help says more):
{commands}

examples:
  spda-sam predict my_pictures/ --out found/              overlays, label images, COCO files, a contact sheet
  spda-sam predict dive.mp4 --out found/ --every 10       each tenth frame of a video
  spda-sam survey dive.mp4 --out report/                  one dive on one page: each thing once
  spda-sam doctor                                         what this machine has, and what to do about the rest

{traceback} before COMMAND shows where an error came from.
exit status: 0 done; 1 failed, the reason is the last line; 2 wrong usage; 3 done but for files that were skipped;
130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    show_traceback = given[:1] == [TRACEBACK]
    if show_traceback:
        del given[0]
    commands = {entry.name: entry for entry in entry_points(group=GROUP)}
    if not given or given[0] in ("-h", "--help"):
        print(_HELP.format(commands=_list_of(commands), traceback=TRACEBACK), end="")
        return 0 if given else WRONG_USAGE
    name, rest = given[0], given[1:]
    if name not in commands:
        print(f"spda-sam: there is no command '{name}': choose from {', '.join(sorted(commands))}", file=sys.stderr)
        return WRONG_USAGE
    sys.argv[0] = f"spda-sam {name}"  # argparse's usage line begins with it
    try:
        return commands[name].load()(rest) or 0
    except KeyboardInterrupt:
        print(f"\nspda-sam {name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        for_people = (OSError, ValueError, FloatingPointError, ImportError, CheckpointError, BackendError)
        if show_traceback or not isinstance(error, for_people):
            raise
        print(f"spda-sam {name}: {_one_line(error)}", file=sys.stderr)
        return FAILED


def summary(entry: EntryPoint) -> str:
    """The first line of a command's docstring, read from its file: its module is not imported.

    Its package is; an empty text where there is no file to read.
    """
    spec = importlib.util.find_spec(entry.module)
    if spec is None or spec.origin is None:
        return ""
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == entry.attr]
    text = ast.get_docstring(functions[0]) if functions else None
    return (text or "").partition("\n")[0]


def _list_of(commands: Mapping[str, EntryPoint]) -> str:
    width = max(map(len, commands))
    return "\n".join(f"  {name:<{width}}  {summary(commands[name])}" for name in sorted(commands))


def _one_line(error: BaseException) -> str:
    """What an error says; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
