"""docs/benchmarks.md is what its program makes of the result files; its rows, by hand."""

from __future__ import annotations

from benchmarks.page import PAGE, page, race, runs

LINES = [
    {"agent": "dqn", "seed": seed, "final": {"mean": mean}, "last_four": 2.0, "steps_per_second": 1234.5, "commit": "abc",
     "overrides": [f"agent={agent}", f"seed={seed}", "steps=10"]}
    for agent, seed, mean in (("idqn", 0, 7.25), ("dqn", 1, 9.0), ("dqn", 0, 8.5))
]  # fmt: skip


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == page(), "the result files have changed: python -m benchmarks.page"


def test_a_row_has_the_seeds_of_an_agent_in_order():
    text = runs("some.json", LINES)
    assert "command: `python train.py steps=10 seed=SEED` and the words of a row" in text
    assert "| `agent=dqn` | 0, 1 | 8.5, 9.0 | 2.0, 2.0 | 1234, 1234 | — | abc | — |" in text
    assert "| `agent=idqn` | 0 | 7.2 | 2.0 | 1234 | — | abc | — |" in text


def test_a_run_that_did_not_finish_has_no_final_figure():
    (line, *_) = LINES
    text = runs("some.json", [{**line, "final": None, "steps_per_second": None, "overrides": None}])
    assert "| `agent=dqn` | 0 | — | 2.0 | — | — | abc | — |" in text
    assert "command: —" in text


def test_our_speed_is_given_in_units_of_the_best_peer_of_the_same_case():
    rows = [
        {"case": case, "threads": 1, "contestant": who, "rate": rate, "low": rate - 1, "high": rate + 1, "commit": "abc"}
        for case, who, rate in (("loop", "deeprl, fast", 30.0), ("loop", "SB3", 10.0), ("loop", "SBX", 20.0), ("other", "SB3", 90.0))
    ]
    text = race("speed.json", {"system": {"processor": "a processor", "cores": 2, "python": "3.13"}, "rows": rows})
    assert "machine: a processor, 2 cores, Python 3.13" in text
    assert "| loop | 1 | deeprl, fast | 30 | 29 to 31 | 1.50 | abc |" in text
    assert "| loop | 1 | SB3 | 10 | 9 to 11 |  | abc |" in text
