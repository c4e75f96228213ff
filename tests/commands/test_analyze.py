"""What gmlight.analyze prints: means over the networks."""

import io

from rich.console import Console

from gmlight.commands.analyze import print_points
from gmlight.reporting.dynamics import Point


def test_printed_points_are_means_over_the_networks() -> None:
    networks = [
        [Point(epoch, 1.0 + n, 10.0 + n, 50.0 + 2 * n, 0.5 + n, 4.0 + 4 * n) for epoch in (0, 1, 30)]
        for n in (0, 1)
    ]
    screen = io.StringIO()
    print_points("title", networks, Console(file=screen, width=80))
    rows = [line.split() for line in screen.getvalue().splitlines() if line.split()[:1] in (["0"], ["30"])]
    assert rows == [[epoch, "1.5", "10.5", "51", "1", "6"] for epoch in ("0", "30")]
