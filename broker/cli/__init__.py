"""The command line: arguments -> one command -> print.  The only place with exit codes.

0 done; 1 the answer is no (denied, not verified, drift, findings); 2 wrong usage; 3 the daemon cannot be reached or
refused to start; 4 this machine cannot enforce what was asked.
"""

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    opens_screen = words in ([], ["ui"])
    if opens_screen:
        from ui import splash  # the screen takes longer to load than a person likes to see nothing

        splash.paint()
    import asyncio  # here, so that importing the package costs a client's start nothing
    import io

    from pydantic import ValidationError

    from broker.cli import output
    from broker.cli.context import CANNOT_ENFORCE, NO, UNREACHABLE, USAGE, Context
    from broker.config import paths_of
    from broker.errors import BulkheadError, DaemonUnreachable, DeskError, MachineError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our characters still gets the sentence
    context = Context(paths_of(os.environ), os.environ)
    command = "bulkhead"
    try:
        if not opens_screen:  # which needs none of the other commands
            from broker.cli.arguments import parser, spelled_out

            args = parser().parse_args(spelled_out(words))
            command = f"bulkhead {args.command_name}"
            if args.command_name != "ui" or args.web:
                return int(asyncio.run(args.run(args, context)))
        from broker.cli.screen import screen

        return screen(context)
    except DaemonUnreachable as error:
        output.complain(error)
        return UNREACHABLE
    except MachineError as error:
        output.complain(error)
        return CANNOT_ENFORCE
    except DeskError as error:
        output.complain(error)
        return CANNOT_ENFORCE if error.code == "machine" else NO
    except BulkheadError as error:
        output.complain(error)
        return NO
    except ValidationError as error:  # what was typed does not fit into a request
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        output.complain(BulkheadError(f"{where}: {first['msg']}", hint=f"{command} --help"))
        return USAGE
    except KeyboardInterrupt:
        return NO
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left; there is nobody to tell
        return NO
