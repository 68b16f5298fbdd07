"""The work queue: nothing is lost, nothing is worked on twice at a time."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import floats, integers, sampled_from

from sampan.host.trace import Cause
from sampan.machinery.objects import Key
from sampan.reconcile.queue import Queue

WEB = Key("default", "web")
API = Key("default", "api")


def cause(n: int) -> Cause:
    return Cause(f"{n:032x}", f"{n:016x}")


def test_a_key_added_twice_is_handed_out_once_with_both_causes() -> None:
    queue = Queue()
    queue.add(WEB, [cause(1)])
    queue.add(API, [cause(2)])
    queue.add(WEB, [cause(3), cause(1)])
    assert queue.pop(0) == (WEB, [cause(1), cause(3)])
    assert queue.pop(0) == (API, [cause(2)])
    assert queue.pop(0) is None


def test_a_key_woken_while_it_is_worked_on_comes_again_after() -> None:
    queue = Queue()
    queue.add(WEB)
    queue.pop(0)
    queue.add(WEB, [cause(1)])
    assert queue.pop(0) is None
    queue.done(WEB)
    assert queue.pop(0) == (WEB, [cause(1)])


def test_backoff_doubles_from_5_ms_to_1000_s_and_starts_anew_after_success() -> None:
    queue = Queue()
    delays = [queue.retry(WEB, 0) for _ in range(20)]
    assert delays[:4] == [0.005, 0.01, 0.02, 0.04]
    assert delays[-1] == 1000
    queue.forget(WEB)
    assert queue.retry(WEB, 0) == 0.005


def test_the_earliest_of_several_times_wakes() -> None:
    queue = Queue()
    queue.add_at(WEB, 10)
    queue.add_at(WEB, 5)
    queue.add_at(WEB, 7)
    assert queue.next_time() == 5
    assert queue.pop(4.9) is None
    assert queue.pop(5) == (WEB, [])
    queue.done(WEB)
    assert queue.next_time() is None
    assert queue.pop(100) is None


class AnyUse(RuleBasedStateMachine):
    """Any order of calls: every key that was woken is handed out after, and never while it is being worked on."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue()
        self.now = 0.0
        self.owed: set[Key] = set()
        self.later: dict[Key, float] = {}
        self.active: set[Key] = set()

    names = sampled_from([Key("", n) for n in "abc"])

    @rule(key=names, n=integers(0, 5))
    def add(self, key: Key, n: int) -> None:
        self.queue.add(key, [cause(n)])
        self.owed.add(key)

    @rule(key=names, delay=floats(0, 10))
    def add_at(self, key: Key, delay: float) -> None:
        self.queue.add_at(key, self.now + delay)
        self.later[key] = min(self.later.get(key, float("inf")), self.now + delay)

    @rule(seconds=floats(0, 10))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def pop(self) -> None:
        due = {key for key, when in self.later.items() if when <= self.now}
        self.owed |= due
        for key in due:
            del self.later[key]
        item = self.queue.pop(self.now)
        if item is None:
            assert not self.owed - self.active
        else:
            assert item[0] in self.owed
            assert item[0] not in self.active
            self.owed.discard(item[0])
            self.active.add(item[0])

    @precondition(lambda self: self.active)
    @rule()
    def done(self) -> None:
        self.queue.done(self.active.pop())

    @invariant()
    def knows_the_next_time(self) -> None:
        assert self.queue.next_time() == min(self.later.values(), default=None)


TestAnyUse = AnyUse.TestCase
TestAnyUse.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
