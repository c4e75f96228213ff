"""Runs a command from its command line: Hydra composes; errors become one line and an exit status."""

import os
import sys
from collections.abc import Callable

import hydra

from gmlight.config.error_lines import explain_error, explain_invalid_choice, explain_torchrun
from gmlight.config.job import Job, prepare_hydra
from gmlight.config.path_words import prepare_paths
from gmlight.config.spelling import check_spelling
from gmlight.errors import ConfigError
from gmlight.runtime.paths import CONF_DIR
from gmlight.runtime.rank import check_launcher_variables, is_main
from gmlight.runtime.signals import Stopped, signal_handler
from gmlight.runtime.streams import lasting_streams
from gmlight.runtime.terminal import prepare_terminal, print_version


@lasting_streams()
def run_command(name: str, rewrite: Callable[[list[str]], list[str]] = list) -> None:
    """Composes conf/<name>.yaml from the command line and runs `gmlight.commands.<name>` in a run folder.

    The folder must be empty, unless `resume` names it or Slurm requeued the job. A ConfigError ends
    the process with one line and exit status 1; a sweep continues with its other runs. SIGINT and SIGTERM
    end the process, a sweep included, with exit status 130 and 143.

    Args:
        name: of the command, such as `train`.
        rewrite: turns the words that a user types into those that Hydra gets; may raise ConfigError.
    """
    prepare_terminal()
    if print_version(sys.argv[1:]):
        return
    try:
        check_launcher_variables()
        check_spelling(name, sys.argv[1:])
        words = rewrite(prepare_paths(sys.argv[1:]))
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")
    # Hydra accepts this flag only before or after all other words.
    sys.argv[1:] = words = sorted(words, key=lambda word: word not in ("-m", "--multirun"))
    if message := explain_invalid_choice(words) or explain_torchrun(words):
        sys.exit(f"gmlight: {message}")
    prepare_hydra()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise errors, which are reported below
    job = Job(name)
    try:
        with signal_handler.installed():
            hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=name)(job)()
    except Stopped as stopped:
        if not stopped.reported:  # the runs had separate processes
            line = f"stopped by {stopped}; resume a started run with resume=<its folder>"
            print(f"gmlight: {line}", file=sys.stderr)
        # Only rank 0 reports: Lightning stops it when another rank fails. Other ranks exit with status 0.
        sys.exit(stopped.status if is_main() else 0)
    except ConfigError as error:
        if not error.reported:
            print(f"gmlight: in a run of the sweep: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        message = explain_error(error)
        if message is None:
            raise
        sys.exit(f"gmlight: {message}")
