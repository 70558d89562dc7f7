"""What the profile tells of threads and stacks."""

import pytest

from load_tests.profile import deployment_of, self_shares, spent


def test_replicas_are_known_by_their_title() -> None:
    assert deployment_of("ray::ServeReplica:sightline:Ingress.handle_request") == "Ingress"
    assert deployment_of("ray::ServeController.listen_for_change") is None


def test_threads_of_one_kind_are_one_row_and_old_seconds_are_not_counted() -> None:
    before = {1: ("python", 5.0, 1.0), 2: ("python", 2.0, 0.0)}
    after = {1: ("python", 6.0, 1.5), 2: ("python", 4.0, 0.0), 3: ("other", 0.5, 0.0)}
    rows = spent(before, after, process="Ingress", names={1: "lane-0", 2: "lane-1"})
    assert [(row.name, row.user_s, row.system_s) for row in rows] == [
        ("Ingress lane", 3.0, 0.5),
        ("Ingress other", 0.5, 0.0),
    ]


def test_shares_are_of_the_chosen_thread_and_lines_of_one_function_are_one() -> None:
    stacks = (
        "thread (1): lane-0;run (a.py:1);decode (b.py:7) 3\n"
        "thread (1): lane-0;decode (b.py:9) 1\nthread (2): main;wait (c.py:1) 96"
    )
    assert self_shares(stacks, thread="lane") == [("decode (b.py)", pytest.approx(1.0))]
    assert self_shares(stacks)[0] == ("wait (c.py)", pytest.approx(0.96))
