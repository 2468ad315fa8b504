"""The evaluator's summary: the order of slices; what it says is held by the whole-run tests."""

from components import evaluator


def test_slices_stand_in_the_order_people_count() -> None:
    keys: list[tuple[tuple[str, object], ...]] = [
        (("hour", "10"),),
        (("hour", "2"),),
        (("hour", "2"), ("pay", "Cash")),
        (("pay", "Cash"),),
        (),
        (("hour", "night"),),
        (("hour", -1),),
    ]
    ordered = sorted(keys, key=evaluator._as_people_count)
    assert [dict(key) for key in ordered] == [
        {},
        {"hour": -1},
        {"hour": "2"},
        {"hour": "10"},
        {"hour": "night"},
        {"pay": "Cash"},
        {"hour": "2", "pay": "Cash"},
    ]
