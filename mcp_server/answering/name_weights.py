"""The weights of names (naming.py), in one place, with where they come from.

Provenance: logistic regression (golden/bench/fitting.py, ridge 100) on 2026-11-21 over the names of the lines that are
looked at for 182 development questions about flask, requests, pytest and sqlfluff; a name counts where the reference
answer gives it and its file is one of those that the answer rests on (1,386 names). Fitted on three repositories and
asked of the fourth, the figures are those of docs/decisions.md, "What to read on".
"""

from __future__ import annotations

WEIGHT_OF: dict[str, float] = {
    "bias": -7.416,
    "match": 0.655,  # idf of the question's words in its parts / 8, at most 2
    "share": -0.162,  # share of its parts that are words of the question
    "score": 0.525,  # of the best chunk that holds it, of the best of all
    "score_squared": -0.589,
    "file_rank": -0.96,  # / 6
    "file_best": 0.481,  # score of the file's best chunk
    "file_share": 1.105,  # of the file's scores, of the first file's
    "is_docs": 0.455,
    "frequency": 0.303,  # log(1 + chunks of the ranking that hold it)
    "is_defined": 0.55,
    "is_shaped": 0.668,  # several parts
    "is_private": 1.215,
    "parts": -0.098,  # / 4
    "is_plain": -0.532,  # an ordinary word in lower case that the file does not define
    "file_lines": -0.872,  # thousands looked at
    "in_code": 1.214,  # called, assigned, subscripted or a member
    "is_error": 2.057,
    "likeness": 1.303,  # cosine of its vector with that of the question
    "coverage": 0.156,  # idf share of the question that a chunk with it has
    "near_top": 0.1,  # 1 / (1 + rank of the best chunk that holds it)
    "lines": -0.013,  # log(1 + lines of the file that hold it)
    "is_type": 0.132,
    "is_callable": 0.988,
    "is_value": -0.574,
    "in_signature": 0.162,  # of a definition of the file
    "is_test": 0.503,  # the file is
    "test_name": -1.321,
    "is_dunder": 0.311,
    "is_upper": -0.357,
    "is_camel": -0.044,
    "length": -0.191,  # / 10
    "about_tests": 0.073,  # the question says "test"
    "first_line": -0.178,  # of those that hold it, in thousands
    "match_relative": 0.503,  # to the best name of the question, as the four below
    "likeness_relative": 0.439,
    "coverage_relative": 1.736,
    "lines_relative": 0.168,
    "frequency_relative": 0.955,
    "likeness_defined": -1.23,
    "match_defined": 0.24,
    "likeness_score": -1.404,
    "tests_of_test": 0.279,  # the file is a test and the question is about tests
    "test_name_of_tests": -0.213,
    "is_first": 0.222,  # the best chunk holds it
    "is_third": 0.165,  # one of the best three does
    "score_file_rank": 0.35,
    "match_near_top": -0.167,
    "likeness_file_rank": -0.486,
    "likeness_order": -3.108,  # log(1 + rank of its likeness) / 10
    "score_coverage": 0.97,
    "file_likeness": 0.62,  # mean of the five names of the file that are most like the question
    "shaped_near_top": 0.25,
    "defined_near_top": -0.286,
    "defined_file_rank": -0.077,
    "private_defined": -0.726,
    "value_near_top": 0.854,
    "error_in_code": -1.272,
}
NAME_FEATURES = tuple(WEIGHT_OF)
NAME_WEIGHTS = tuple(WEIGHT_OF.values())
