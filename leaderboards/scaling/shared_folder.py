"""What tasks wait for at a shared results folder: its table of claims, its listing, files of others, its server."""

from __future__ import annotations

from collections import Counter

from parts import Folder, Network

WINDOW = 600.0  # seconds over which the peaks of requests are means


class SharedFolder:
    """The state of the folder, or of one folder for each network, while a study runs."""

    def __init__(self, rules: Folder | None):
        self.rules = rules
        self.files: Counter[int] = Counter()
        self.requests, self.claims = 0.0, 0.0
        self._served = 0.0  # until when the server has work
        self._held: Counter[int] = Counter()  # until when the table of each folder is held
        self._windows: Counter[int] = Counter()

    def number(self, network: int) -> int:
        """The folder of a network."""
        return network if self.rules and self.rules.own else 0

    def stored(self, network: int) -> None:
        """A task has written its file."""
        self.files[self.number(network)] += 1

    def wait(self, now: float, network: int, work: Network, seen: int, others: int) -> tuple[float, int]:
        """Seconds that a task waits from `now` on, and how many files its process has then read.

        seen: how many it has read before. others: processes at the same network.
        """
        if self.rules is None:
            return 0.0, seen
        rules, folder = self.rules, self.number(network)
        listed = self.files[folder]
        claims = work.shards * (2 + (others if rules.meets else 0))
        held = claims * (rules.claims + rules.claim_requests * rules.latency)
        self._held[folder] = max(self._held[folder], now) + held
        asked = listed * work.shards * rules.list_requests + (listed - seen) * rules.read_requests
        asked += rules.write_requests
        requests = asked + claims * rules.claim_requests
        self.requests += requests
        self.claims += claims
        self._windows[int(now // WINDOW)] += requests
        self._served = max(self._served, now) + requests / rules.rate
        waited = max(self._held[folder] - now + asked * rules.latency, self._served - now)
        return listed * work.shards * rules.lists + (listed - seen) * rules.reads + waited, listed

    def peak(self, seconds: float) -> float:
        """The most requests a second in any window of a study that took so long."""
        return max(self._windows.values(), default=0.0) / min(WINDOW, seconds)
