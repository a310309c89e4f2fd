"""How fast HL7 v2 messages are decoded, beside python-hl7 which only takes them apart: `make bench-hl7v2`.

A message of 3.7 kB as hospitals send them, with all that `PID`, `PV1`, `OBX` and notes can hold, and a short one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import hl7
from rich.console import Console
from rich.table import Table

from emr_plugins.api import Context, Event
from emr_plugins.hl7v2 import Hl7V2Plugin, Hl7V2Settings
from emr_plugins.hl7v2.er7 import read_message

LAPS = 7
SECONDS = 0.3
"""Of CPU, about, for each lap."""

_HEADER = "MSH|^~\\&|SCHED^1.2.840.1^ISO|NORTH^1.2.840.2^ISO|HUB|HUB|202603021504+0000||SIU^S12^SIU_S12|1|P|2.8|||||USA"
_CONTACT = "77^Example&von^Ada^B^Jr^Dr^MD^^NPI&1.2.840.3&ISO^L^^^NPI^^^^^^20100115^20300115^GP|(555)0100^^PH|1 MAIN^^KY"
_SCH = f"SCH|12345|36996||||Add|ROUTINE|Normal|60|s||{_CONTACT}||{_CONTACT}||{_CONTACT}|||Booked"
_AIP = (
    "AIP|1|A|1210^Example^Robin^C|010^Gastroenterologist^L||20260309093000-0400|||50|min^Minutes^ISO||Booked"
)
_TQ1 = "TQ1|1||||||20260309093000-0400|20260309102000-0400|A"

SHORT = "\r".join([_HEADER, _SCH, _TQ1, _AIP])
LONG = "\r".join(
    [
        _HEADER, _SCH, _TQ1, "NTE|1||Booked for a procedure",
        "PID|1|1^4^M11^T^MR^HOSPITAL|2^5^M11^T&2.16.1&HCD^MR~3^^^USA^SS|4|" + "~".join(["TESTER&&^TONI^A^III^MD"] * 14)
        + "|" + "~".join(["1&LANE^STE. 1^TOWN ^MI^99999^USA^M^^&W^^^20000110&20000120^^^^^^^NEAR"] * 12) + "|" * 25,
        "PV1|1|O|055^ROOM1^^CLINIC^^^|||OPD^ROOM1&2.16&ISO^^F1^^^B1|0210^ATTEND^A^A|0310^REFER^L^C" + "|" * 36,
        *(f"OBX|{n}|NM|8867-4^Heart rate^LN||72|beats/min^^ISO|60-120||||F|||20260309||11^A^Z" for n in range(6)),
        "DG1|1||64766004^Something^SCT|Something|20260225114025+0420|A|||||||||1|005454^DIAG^ROBIN^B", "RGS|1|A",
        "AIS|1|A|76164006^Biopsy^SCT^1212^Biopsy|20260309093000-0400|||50|min^Minutes^ISO||Booked",
        "NTE|1||Preparation for the procedure", "AIG|1|A|5001^Scope^L|101^Equipment^L||||20260309093000-0400|||50|min",
        "AIL|1||055^Room01^^Clinic^^^|C^Clinic^HL70305||20260309093000-0400|||50|min^Minutes^ISO||Booked",
        *(f"NTE|{n}||Bring your papers and be there a quarter of an hour before the time" for n in range(10)), _AIP,
    ]
)  # fmt: skip


def _decoding(text: str) -> Callable[[], object]:
    plugin = Hl7V2Plugin()
    context = Context("acme", "hl7v2", "America/New_York", Hl7V2Settings())
    event = Event.model_validate(
        {
            "specversion": "1.0", "id": "e-1", "source": "/tenants/acme", "type": "SIU^S12", "tenant": "acme",
            "time": "2026-03-02T15:04:05Z", "emr": "hl7v2", "data": text,
        }
    )  # fmt: skip
    assert plugin.decode(event, context)
    return lambda: plugin.decode(event, context)


def rate(call: Callable[[], object]) -> float:
    """Calls per second of CPU, the median of the laps."""
    began = time.process_time()
    calls = 0
    while time.process_time() - began < SECONDS / 4:
        call()
        calls += 1
    laps = []
    for _ in range(LAPS):
        began = time.process_time()
        for _ in range(calls * 4):
            call()
        laps.append(calls * 4 / (time.process_time() - began))
    return statistics.median(laps)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hl7v2", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    given = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    for name, text in ((f"{len(one):,} bytes", one) for one in (LONG, SHORT)):
        found[name] = {
            "decode, the whole way to an item": rate(_decoding(text)),
            "the same with line feeds": rate(_decoding(text.replace("\r", "\n"))),
            "the splitter alone": rate(lambda text=text: read_message(text)),  # type: ignore[misc]
            "python-hl7, parse alone": rate(lambda text=text: hl7.parse(text)),  # type: ignore[misc]
        }
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    table = Table(title="HL7 v2 messages in a second of CPU")
    table.add_column("what")
    for name in found:
        table.add_column(name, justify="right")
    for what in next(iter(found.values())):
        table.add_row(what, *(f"{rates[what]:,.0f}" for rates in found.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
