"""The doctor finds all faults of a data set's atomic files at once.

`examine` finds them, and `mend` writes copies without them.
"""

from recbole_precise.studies.doctor.examine import Examination, examine
from recbole_precise.studies.doctor.findings import Finding, Findings
from recbole_precise.studies.doctor.mend import mend
from recbole_precise.studies.doctor.plan import DescribedData, read_plan

__all__ = ["DescribedData", "Examination", "Finding", "Findings", "examine", "mend", "read_plan"]
