"""Statements in files: what they must look like."""

import pytest

from understudy.persistence.queries import QueryError, load_queries, parse


def test_a_statement_runs_from_its_header_to_the_next_one() -> None:
    found = parse("-- About.\n\n-- name: one(a, b)\n-- Why.\nSELECT $1, $2;\n\n-- name: two()\nSELECT 2;\n", "x.sql")

    assert found["one"].text == "-- Why.\nSELECT $1, $2"
    assert found["one"].parameters == ("a", "b")
    assert found["two"].text == "SELECT 2"
    assert found["two"].parameters == ()


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("SELECT 1;\n-- name: one()\nSELECT 1", "no '-- name"),
        ("SELECT 1", "no '-- name"),
        ("-- name: one()\nSELECT 1;\n-- name: one()\nSELECT 2", "taken"),
        ("-- name: one(a)\nSELECT 1", "declares 1 parameters"),
        ("-- name: one(a)\nSELECT $1, $2", "declares 1 parameters"),
        ("-- name: one(a, b)\nSELECT $2", "declares 2 parameters"),
        ("-- name: one(a)\n-- $1\nSELECT 1", "declares 1 parameters"),
    ],
)
def test_a_malformed_file_is_refused(source: str, complaint: str) -> None:
    with pytest.raises(QueryError, match=complaint):
        parse(source, "x.sql")


def test_the_shipped_statements_are_read_once_and_by_name() -> None:
    queries = load_queries()

    assert queries is load_queries()
    assert "commit" in queries
    assert queries["commit"].endswith("FROM applied")
    assert queries.parameters("claim") == ("session_id", "process_ids", "claims", "schema_max")
    assert len(set(queries)) == len(queries)
