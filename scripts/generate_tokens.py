"""Write static/css/tokens.css: Material 3 colour roles from one seed colour.

Run it by hand after changing the seed; it needs materialyoucolor, a development dependency.
"""

from __future__ import annotations

import re
from pathlib import Path

from materialyoucolor.blend import Blend
from materialyoucolor.dynamiccolor.material_dynamic_colors import MaterialDynamicColors
from materialyoucolor.hct import Hct
from materialyoucolor.palettes.tonal_palette import TonalPalette
from materialyoucolor.scheme.scheme_fidelity import SchemeFidelity

SEED = 0xFF4355B9
CUSTOM = {
    "success": 0xFF2E7D32,
    "warning": 0xFFB26A00,
    "accent-orange": 0xFFE8710A,
    "accent-teal": 0xFF00897B,
}
TARGET = Path(__file__).resolve().parent.parent / "static" / "css" / "tokens.css"
LEFT_OUT = re.compile("PaletteKeyColor|Dim$|shadow|scrim|Fixed|surfaceTint|surfaceDim")


def hex_of(argb: int) -> str:
    return f"#{argb & 0xFFFFFF:06x}"


def roles() -> dict[str, tuple[str, str]]:
    """Role name to its colour in the light and in the dark scheme."""
    colors = MaterialDynamicColors(spec="2021")
    schemes = [SchemeFidelity(Hct.from_int(SEED), dark, 0.0, spec_version="2021") for dark in (False, True)]
    found: dict[str, tuple[str, str]] = {}
    for name in dir(colors):
        if name.startswith("_") or LEFT_OUT.search(name) or not hasattr(getattr(colors, name), "get_argb"):
            continue
        light, dark = (hex_of(getattr(colors, name).get_argb(scheme)) for scheme in schemes)
        found[re.sub("([A-Z])", lambda match: "-" + match[1].lower(), name)] = (light, dark)
    for name, seed in CUSTOM.items():
        palette = TonalPalette.from_int(Blend.harmonize(seed, SEED))
        for role, tones in {
            name: (40, 80),
            f"on-{name}": (100, 20),
            f"{name}-container": (90, 30),
            f"on-{name}-container": (10, 90),
        }.items():
            light, dark = (hex_of(palette.tone(tone)) for tone in tones)
            found[role] = (light, dark)
    return found


def main() -> None:
    lines = [f"    --{name}: light-dark({light}, {dark});" for name, (light, dark) in sorted(roles().items())]
    css = "\n".join(
        [
            "/* Made by scripts/generate_tokens.py: change the seed there, not the colours here. */",
            "@layer tokens {",
            "  :root {",
            "    color-scheme: light dark;",
            *lines,
            "  }",
            "  [data-theme='light'] {",
            "    color-scheme: light;",
            "  }",
            "  [data-theme='dark'] {",
            "    color-scheme: dark;",
            "  }",
            "}",
            "",
        ]
    )
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(css)


if __name__ == "__main__":
    main()
