"""What only people know of a dive: ship, place, who, with what. From a YAML file; blank where unknown."""

from __future__ import annotations

from spda_sam_core.settings import settings


@settings
class Occasion:
    """The head of a surveyor's report.

    Attributes:
        ship: name.
        imo_number: seven digits.
        area: what of the ship was looked at, such as "port side, flat bottom".
        place: port or position.
        date: of the dive.
        draught: with its unit.
        operator: who dived or steered.
        equipment: vehicle, camera, lights.
        visibility: of the water, with its unit.
        notes: whatever else a reader needs.
    """

    ship: str = ""
    imo_number: str | int = ""
    area: str = ""
    place: str = ""
    date: str = ""
    draught: str = ""
    operator: str = ""
    equipment: str = ""
    visibility: str = ""
    notes: str = ""

    def __post_init__(self) -> None:
        if self.imo_number and not _is_imo_number(str(self.imo_number)):
            raise ValueError(
                f"imo_number '{self.imo_number}' is none: seven digits, of which the last is the last digit of 7 a + "
                "6 b + 5 c + 4 d + 3 e + 2 f; leave it out where unknown"
            )


def _is_imo_number(text: str) -> bool:
    """Whether the last of seven digits is the check digit of the others."""
    digits = text.upper().removeprefix("IMO").strip()
    if len(digits) != 7 or not digits.isdecimal():
        return False
    total = sum(weight * int(digit) for weight, digit in zip(range(7, 1, -1), digits[:6], strict=True))
    return total % 10 == int(digits[6])
