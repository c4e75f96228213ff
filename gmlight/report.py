"""Collects runs into the paper's tables: `python -m gmlight.report runs='runs/table1/*'`."""

import sys

from gmlight.errors import ConfigError
from gmlight.runtime.streams import lasting_streams
from gmlight.runtime.terminal import prepare_terminal, print_version

USAGE = """usage: python -m gmlight.report runs=<folders or globs, separated by commas>
           [html=PATH] [markdown=PATH] [csv=PATH] [plots=FOLDER]"""
KEYS = {"runs", "html", "markdown", "csv", "plots"}


@lasting_streams()
def main() -> None:
    prepare_terminal()
    if print_version(sys.argv[1:]):
        return
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(USAGE)
        return
    words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    if len(words) != len(sys.argv[1:]) or not {"runs"} <= words.keys() <= KEYS:
        sys.exit(USAGE)
    from gmlight.commands.report import report  # slow: imports matplotlib

    try:
        report(words)
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")


if __name__ == "__main__":
    main()
