"""Process simulator: Knative's activator before one function: holds requests while no pod is ready, else picks one.

Of two pods picked at random the one with fewer requests in flight, blind to quotas, as the activator does for
unlimited container concurrency.
"""

from __future__ import annotations

from collections import deque

from .pod import Pod
from .requests import Requests


class Balancer:
    """``arrived`` counts the requests that have come so far."""

    __slots__ = ("arrived", "pods", "requests", "waiting")

    def __init__(self, requests: Requests) -> None:
        self.requests = requests
        self.pods: list[Pod] = []
        """Ready ones."""
        self.waiting: deque[int] = deque()
        self.arrived = 0

    def next_arrival_s(self) -> float:
        """When the next request comes; infinite after the last."""
        requests = self.requests
        return requests.arrived_s[self.arrived] if self.arrived < requests.count else float("inf")

    def admit(self, until_s: float) -> None:
        """Hands out all requests that come before ``until_s``, then brings the pods up to that time."""
        first = self.arrived
        last = self.requests.next_from(first, until_s) if self.next_arrival_s() < until_s else first
        self.arrived = last
        if not self.pods:
            self.waiting.extend(range(first, last))
            self.requests.cold += last - first
            return
        if len(self.pods) == 1:
            self.pods[0].queue.extend(range(first, last))
        else:
            arrived = self.requests.arrived_s
            for index in range(first, last):
                self._choose(index, arrived[index]).queue.append(index)
        for pod in self.pods:
            pod.advance(until_s)

    def admit_one(self) -> Pod | None:
        """Hands out the next request alone; the pod it went to."""
        index = self.arrived
        self.arrived += 1
        if not self.pods:
            self.waiting.append(index)
            self.requests.cold += 1
            return None
        pod = self._choose(index, self.requests.arrived_s[index]) if len(self.pods) > 1 else self.pods[0]
        pod.queue.append(index)
        return pod

    def add(self, pod: Pod, now: float) -> None:
        """A pod has become ready; what waited goes to the ready ones."""
        self.pods.append(pod)
        while self.waiting:
            index = self.waiting.popleft()
            self._choose(index, now).queue.append(index)

    def remove(self, pod: Pod) -> None:
        """A pod gets no more requests; those it has it finishes."""
        if pod in self.pods:
            self.pods.remove(pod)

    def _choose(self, index: int, now: float) -> Pod:
        pods = self.pods
        count = len(pods)
        if count == 1:
            return pods[0]
        one = int(self.requests.toss[index] * count)
        two = int(self.requests.second[index] * (count - 1))
        if two >= one:
            two += 1
        first, second = pods[one], pods[two]
        first.advance(now)
        second.advance(now)
        return second if second.in_flight(now) < first.in_flight(now) else first
