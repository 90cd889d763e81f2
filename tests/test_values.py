from __future__ import annotations

import math
from typing import Any, Literal

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.shared import values

Kind = Literal["number", "category", "boolean"]
KINDS: tuple[Kind, ...] = ("number", "category", "boolean")


def column(*written: Any, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(written, kind)])


def read(parsed: values.Parsed) -> tuple[list[Any], dict[str, list[int]]]:
    return parsed.column.to_pylist(), {why: rows.tolist() for why, rows in parsed.bad.items()}


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("1", 1.0),
        ("-0.50", -0.5),
        ("+5", 5.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1E+3", 1000.0),
        (" 7\t", 7.0),
        ("00012", 12.0),
    ],
)
def test_a_number_is_read_in_every_usual_way_of_writing_it(written: str, number: float) -> None:
    assert read(values.number(column(written))) == ([number], {})


@pytest.mark.parametrize("written", ["", " ", "NA", "n/a", "NaN", "nan", "NULL", "none", None])
def test_what_says_that_a_value_is_missing_is_missing_in_numbers_and_booleans(
    written: str | None,
) -> None:
    assert read(values.number(column("1", written))) == ([1.0, None], {})
    assert read(values.boolean(column("1", written))) == ([True, None], {})


@pytest.mark.parametrize("written", ["abc", "1,5", "1_000", "0x1", "-", "1 000", "-nan", "\u0661"])
def test_what_is_no_number_is_bad(written: str) -> None:
    assert read(values.number(column("1", written))) == ([1.0, None], {"not a number": [1]})


@pytest.mark.parametrize("written", ["inf", "-Infinity", "1e400", "-1e999"])
def test_what_has_no_end_is_bad(written: str) -> None:
    assert read(values.number(column(written, "1"))) == ([None, 1.0], {"not a finite number": [0]})


TEXTS = st.one_of(
    st.none(),
    st.floats().map(repr),
    st.integers().map(str),
    st.sampled_from(
        ["", "NA", "nan", "-nan", "inf", "1e400", "+5", "true", "No", "yes", "x", "007"]
    ),
    st.text("0123456789+-.eE_, \t\u00a0naifxNIF", max_size=6),
    st.text(max_size=4),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, max_size=6))
@example(["1", "nan(1)", None])
def test_the_neighbours_of_a_value_never_change_how_it_is_read(written: list[str | None]) -> None:
    # A column of nothing but plain numbers is read by a quicker way than any other.
    for kind in KINDS:
        together = values.feature(column(*written, kind=pa.string()), kind)
        alone = [values.feature(column(one, kind=pa.string()), kind) for one in written]
        reasons = {row: why for why, rows in together.bad.items() for row in rows.tolist()}
        assert together.column.to_pylist() == [each.column[0].as_py() for each in alone]
        assert reasons == {row: next(iter(a.bad)) for row, a in enumerate(alone) if a.bad}


def test_numbers_that_no_estimator_can_reckon_with_are_bad() -> None:
    found = values.number(column("1e30", "-1.1e30", "1e400", "2"))
    assert read(found) == (
        [1e30, None, None, 2.0],
        {"not a finite number": [2], "beyond 1e+30": [1]},
    )


@settings(max_examples=200, deadline=None)
@given(st.floats(-values.LARGEST, values.LARGEST))
def test_a_number_that_python_wrote_is_read_to_the_last_bit(number: float) -> None:
    assert values.number(column(repr(number))).column[0].as_py() == number


@settings(max_examples=200, deadline=None)
@given(TEXTS.filter(lambda text: text is not None))
def test_what_is_read_as_a_number_is_what_python_reads(written: str) -> None:
    found = values.number(column(written)).column[0].as_py()
    assert found is None or (found == float(written) and math.isfinite(found))


def test_na_and_none_are_categories_like_any_other_and_only_an_empty_field_is_missing() -> None:
    written = ["NA", "None", "nan", "", None, " ", "007", " basic"]
    assert read(values.category(column(*written))) == (
        ["NA", "None", "nan", None, None, " ", "007", " basic"],
        {},
    )


def test_a_boolean_is_read_in_every_usual_way_of_writing_it() -> None:
    true, false = ["true", "T", "Yes", "1", "1.0", " TRUE "], ["False", "f", "NO", "0", "0.0"]
    assert read(values.boolean(column(*true))) == ([True] * 6, {})
    assert read(values.boolean(column(*false))) == ([False] * 5, {})
    assert read(values.boolean(column("2", "maybe", "1"))) == (
        [None, None, True],
        {"not a boolean (true, false, yes, no, 1, 0)": [0, 1]},
    )


def test_an_id_is_text_as_it_is_written_and_blank_is_none() -> None:
    assert read(values.identifier(column("00123", "NA", " ", "", " 7"))) == (
        ["00123", "NA", None, None, " 7"],
        {},
    )


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        (column(7, 2**62, None), ["7", str(2**62), None]),
        (column(123.0, 0.1, math.nan), ["123", "0.1", None]),
        (column(True, False, None), ["true", "false", None]),
        (column(None, None), [None, None]),
    ],
)
def test_what_parquet_holds_typed_is_the_text_that_csv_would_have(
    typed: pa.ChunkedArray, text: list[str | None]
) -> None:
    assert read(values.category(typed)) == (text, {})
    assert read(values.identifier(typed)) == (text, {})


def test_typed_numbers_are_numbers_and_nan_is_missing() -> None:
    assert read(values.number(column(1.5, math.nan, math.inf))) == (
        [1.5, None, None],
        {"not a finite number": [2]},
    )
    assert read(values.number(column(2**63, kind=pa.uint64()))) == ([2.0**63], {})
    assert read(values.number(column(True, None))) == ([1.0, None], {})
    assert read(values.boolean(column(1.0, 0.0, math.nan))) == ([True, False, None], {})


def test_a_label_is_0_or_1_true_or_false_or_not_known() -> None:
    assert read(values.label(column("1", "0", "1.0", "FALSE", "True", "", "NA"), None)) == (
        [1, 0, 1, 0, 1, None, None],
        {},
    )
    reason = "not a label (0, 1, true, false): name the positive value in data.positive"
    assert read(values.label(column("yes", "1"), None)) == ([None, 1], {reason: [0]})
    assert read(values.label(column(1.0, 0.0, math.nan), None)) == ([1, 0, None], {})


def test_with_a_positive_value_every_other_known_value_is_negative() -> None:
    assert read(values.label(column("left", " left ", "stayed", "", None), "left")) == (
        [1, 1, 0, None, None],
        {},
    )


def test_the_positive_value_in_another_case_is_no_negative_but_a_bad_row() -> None:
    _, bad = read(values.label(column("yes", "Yes", "no"), "Yes"))
    assert bad == {"written otherwise than data.positive, 'Yes'": [0]}


def test_a_label_that_says_missing_is_unknown_and_no_negative_unless_it_is_the_positive_one() -> (
    None
):
    assert read(values.label(column("yes", "NA", "no"), "yes")) == ([1, None, 0], {})
    assert read(values.label(column("NA", "nan", "no"), "NA")) == ([1, None, 0], {})


@pytest.mark.parametrize("positive", ["true", "True"])
def test_a_positive_true_is_true_in_any_case(positive: str) -> None:
    assert read(values.label(column("TRUE", "false", None), positive)) == ([1, 0, None], {})
    assert read(values.label(column(True, False, None), positive)) == ([1, 0, None], {})


def test_a_positive_number_is_found_among_numbers() -> None:
    assert read(values.label(column(2.0, 1.0, math.nan), "2")) == ([1, 0, None], {})
