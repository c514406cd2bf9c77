"""The checks of labelled texts: a check is a function in a module of `data_quality/` and its line here.

`config` takes the names that `drop` may have from this table, so nothing here may import pandas.
"""

from typing import NamedTuple


class DataCheck(NamedTuple):
    """One check.

    Attributes:
        function: `module:function` in `data_quality/`. It takes all rows and the settings, and returns the suspects.
        before_split: whether the rows leave train before validation and test are held out of it. It is set for copies
            of a text: they would end up in several splits.
        is_slow: whether it needs a tokenizer, a model or much time. It runs in the audit, and while the splits are
            loaded only where its rows leave train.
    """

    function: str
    before_split: bool = False
    is_slow: bool = False


# By the name of the issue, in the order in which they run and are shown.
CHECKS = {
    "leakage": DataCheck("duplicates:leakage", before_split=True),
    "conflict": DataCheck("duplicates:conflicts", before_split=True),
    "repeat": DataCheck("duplicates:repeats", before_split=True),
    "near_leakage": DataCheck("duplicates:near_leakage", is_slow=True),
    "encoding": DataCheck("encoding:wrong_encoding"),
    "html": DataCheck("encoding:html_remains"),
    "too_long": DataCheck("long_texts:too_long", is_slow=True),
    "language": DataCheck("language:foreign_texts", is_slow=True),
    "label_error": DataCheck("label_errors:label_errors", is_slow=True),
}
