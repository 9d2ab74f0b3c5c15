"""`euclidesdb top`: what a running server is doing, in a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from euclidesdb_server.commands.connection import connected, described
from euclidesdb_server.commands.parameters import address_option, json_option
from euclidesdb_server.commands.printing import print_json, printable

if TYPE_CHECKING:
    import euclidesdb


@click.command()
@address_option
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--once", is_flag=True, help="Look for one interval, and end.")
@json_option
def top(*, address: str, interval: float, once: bool, as_json: bool) -> int:
    """Calls a second, their times, queues, workers and builds of a running server. Ctrl-C ends."""
    with suppress(KeyboardInterrupt), connected(address) as client:
        if as_json or once or not sys.stdout.isatty():
            _print(client, interval, once=once, as_json=as_json)
        else:
            _live(client, address, interval)
    return 0


def _print(client: euclidesdb.Client, interval: float, *, once: bool, as_json: bool) -> None:
    from euclidesdb_server.commands.top_numbers import activity  # noqa: PLC0415  with the client
    from euclidesdb_server.commands.top_view import print_view  # noqa: PLC0415  needs rich

    for before, after, elapsed in _readings(client.stats, interval):
        now = activity(before, after, elapsed)
        if as_json:
            print_json(now)
        else:
            print_view(now)
        sys.stdout.flush()
        if once:
            return


def _live(client: euclidesdb.Client, address: str, interval: float) -> None:
    """Show the server until Ctrl-C, also while it does not answer."""
    import euclidesdb  # noqa: PLC0415  when the command runs
    from euclidesdb_server.commands.top_numbers import activity  # noqa: PLC0415  as above
    from euclidesdb_server.commands.top_view import LiveView  # noqa: PLC0415  needs rich

    with LiveView() as view:
        while True:
            try:
                for before, after, elapsed in _readings(client.stats, interval):
                    view.show(activity(before, after, elapsed))
            except euclidesdb.Unavailable as error:  # it may be starting again
                view.note(printable(described(error, address)))
                time.sleep(interval)


def _readings(
    read: Callable[[], euclidesdb.ServerStats], interval: float
) -> Iterator[tuple[euclidesdb.ServerStats, euclidesdb.ServerStats, float]]:
    """Two readings, one after the other, and the seconds in between; for ever."""
    before, read_at = read(), time.monotonic()
    while True:
        time.sleep(interval)
        after, now = read(), time.monotonic()
        yield before, after, now - read_at
        before, read_at = after, now
