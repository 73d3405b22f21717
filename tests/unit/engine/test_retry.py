from hypothesis import given
from hypothesis import strategies as st

from swarm.engine import retry
from swarm.types.result import Failure


def a_failure(*, retryable: bool = True, retry_after: float | None = None) -> Failure:
    return Failure(reason="unavailable", message="overloaded", retryable=retryable, retry_after=retry_after)


def waited(tried: int, *, seed: str = "a:0", attempts: int = 50) -> int:
    found = retry.delay(a_failure(), tried, attempts, seed)
    assert found is not None
    return found


def test_what_is_not_retryable_is_not_retried() -> None:
    assert retry.delay(a_failure(retryable=False), 1, 3, "a:0") is None


def test_what_is_not_retryable_is_not_retried_even_when_asked_to_wait() -> None:
    assert retry.delay(a_failure(retryable=False, retry_after=1), 1, 3, "a:0") is None


def test_the_last_attempt_is_the_last() -> None:
    assert retry.delay(a_failure(), 2, 3, "a:0") is not None
    assert retry.delay(a_failure(), 3, 3, "a:0") is None
    assert retry.delay(a_failure(retry_after=1), 3, 3, "a:0") is None


@given(tried=st.integers(1, 49), seed=st.text(max_size=20))
def test_a_delay_lies_in_the_upper_half_of_its_range(tried: int, seed: str) -> None:
    full = min(200 * 2 ** (tried - 1), 30_000)

    assert full // 2 <= waited(tried, seed=seed) <= full


def test_delays_grow_until_the_longest() -> None:
    delays = [waited(tried) for tried in range(1, 9)]

    assert delays == sorted(delays)
    assert waited(49) <= retry.LONGEST_MS


def test_deciding_again_gives_the_same_delay() -> None:
    assert [waited(tried) for tried in (1, 2, 3)] == [waited(tried) for tried in (1, 2, 3)]


def test_a_delay_does_not_depend_on_the_process() -> None:
    # Pinned: another machine that decides the same job again must come to the same number.
    assert (waited(1, seed="a:0"), waited(2, seed="a:0"), waited(1, seed="é:1")) == (192, 334, 188)


def test_subtasks_that_fail_together_do_not_come_back_together() -> None:
    assert len({waited(4, seed=f"t{number}:0") for number in range(100)}) > 80


def test_what_the_server_asked_for_is_honoured() -> None:
    assert retry.delay(a_failure(retry_after=2.5), 1, 3, "a:0") == 2_500


def test_a_server_cannot_make_a_job_wait_for_hours() -> None:
    assert retry.delay(a_failure(retry_after=86_400), 1, 3, "a:0") == retry.LONGEST_ASKED_MS


def test_a_time_in_the_past_means_now() -> None:
    assert retry.delay(a_failure(retry_after=-3), 1, 3, "a:0") == 0


def test_a_server_that_refuses_again_and_asks_for_no_pause_is_not_asked_without_one() -> None:
    asked_now = [retry.delay_of_refusal(a_failure(retry_after=0), refused, "a:0") for refused in (1, 5)]

    assert asked_now == [retry.delay_of_refusal(a_failure(), refused, "a:0") for refused in (1, 5)]
    assert retry.delay_of_refusal(a_failure(retry_after=1), 5, "a:0") == 1_000
