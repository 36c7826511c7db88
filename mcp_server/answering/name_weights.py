"""The weights of names (naming.py), in one place, with where they come from.

Provenance: logistic regression (golden/bench/fitting.py, ridge 100) on 2026-11-21 over the names of the lines that are
looked at for 182 development questions about flask, requests, pytest and sqlfluff; a name counts where the reference
answer gives it and its file is one of those that the answer rests on (1,386 names). Fitted on three repositories and
asked of the fourth, the figures are those of docs/decisions.md, "What to read on".
"""

from __future__ import annotations

WEIGHT_OF: dict[str, float] = {
    "bias": -7.296,
    "match": 0.802,  # idf of the question's words in its parts / 8, at most 2
    "share": -0.161,  # share of its parts that are words of the question
    "score": 0.548,  # of the best chunk that holds it, of the best of all
    "score_squared": -0.466,
    "file_rank": -0.963,  # / 6
    "file_best": 0.481,  # score of the file's best chunk
    "file_share": 1.098,  # of the file's scores, of the first file's
    "is_docs": 0.378,
    "frequency": 0.32,  # log(1 + chunks of the ranking that hold it)
    "is_defined": 0.511,
    "is_shaped": 0.688,  # several parts
    "is_private": 1.154,
    "parts": -0.14,  # / 4
    "is_plain": -0.557,  # an ordinary word in lower case that the file does not define
    "file_lines": -0.854,  # thousands looked at
    "in_code": 1.22,  # called, assigned, subscripted or a member
    "is_error": 2.011,
    "likeness": 1.117,  # cosine of its vector with that of the question
    "coverage": 0.124,  # idf share of the question that a chunk with it has
    "near_top": -0.045,  # 1 / (1 + rank of the best chunk that holds it)
    "lines": 0.019,  # log(1 + lines of the file that hold it)
    "is_type": 0.111,
    "is_callable": 0.956,
    "is_value": -0.618,
    "in_signature": 0.206,  # of a definition of the file
    "is_test": 0.514,  # the file is
    "test_name": -1.374,
    "is_dunder": 0.322,
    "is_upper": -0.411,
    "is_camel": -0.072,
    "length": -0.186,  # / 10
    "about_tests": 0.083,  # the question says "test"
    "first_line": -0.176,  # of those that hold it, in thousands
    "match_relative": 0.397,  # to the best name of the question, as the four below
    "likeness_relative": 0.431,
    "coverage_relative": 1.781,
    "lines_relative": 0.127,
    "frequency_relative": 0.97,
    "likeness_defined": -1.202,
    "match_defined": 0.237,
    "likeness_score": -1.598,
    "tests_of_test": 0.235,  # the file is a test and the question is about tests
    "test_name_of_tests": -0.118,
    "is_first": 0.123,  # the best chunk holds it
    "is_third": 0.239,  # one of the best three does
    "score_file_rank": 0.155,
    "match_near_top": -0.336,
    "likeness_file_rank": -0.429,
    "likeness_order": -3.282,  # log(1 + rank of its likeness) / 10
    "score_coverage": 0.98,
    "file_likeness": 0.522,  # mean of the five names of the file that are most like the question
    "shaped_near_top": 0.29,
    "defined_near_top": -0.272,
    "defined_file_rank": -0.068,
    "private_defined": -0.641,
    "value_near_top": 0.839,
    "error_in_code": -1.181,
}
NAME_FEATURES = tuple(WEIGHT_OF)
NAME_WEIGHTS = tuple(WEIGHT_OF.values())
