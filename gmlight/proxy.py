"""Ranks architectures or hyper-parameters on a condensed set: `python -m gmlight.proxy run=<folder>`."""

from gmlight.config.stored import run_command_on_a_set

OWN_KEYS = (
    "others", "space", "networks", "proxies", "reference", "jobs", "cache", "part", "parts", "dry_run",
    "logger",
)  # fmt: skip


def main() -> None:
    run_command_on_a_set("proxy", own_keys=OWN_KEYS, replaced=("logger",))


if __name__ == "__main__":
    main()
