"""Judge whether a data set can support a claim about sequential recommenders.

The audit gives measures, each beside chance, and a plain verdict.

`histories` holds the data as flat arrays, `load` reads them from atomic files; `describe`, `order`,
`transitions` and `text` measure; `examine` sets every figure beside the same figure of random
copies (`chance`); `verdict` says what follows; `report` and `plots` write it down. docs/audit.md
explains each figure.
"""

from recbole_precise.studies.audit.examine import Audit, examine
from recbole_precise.studies.audit.histories import Histories
from recbole_precise.studies.audit.verdict import Verdict, judge

__all__ = ["Audit", "Histories", "Verdict", "examine", "judge"]
