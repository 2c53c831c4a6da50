"""The picture of the README, from a real run: ``make demo``, then ``python docs/images/make.py``.

Opens ``demo/index.html`` in headless Chromium and writes ``docs/images/demo.png``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH, HEIGHT = 1260, 1806
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main(page: Path, picture: Path) -> None:
    """Photograph ``page``."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None or not page.is_file():
        sys.exit(f"error: {'no Chromium here' if browser is None else f'{page} is missing; run make demo'}")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser,
                "--headless=new",
                "--no-sandbox",
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
                "--ignore-gpu-blocklist",
                "--hide-scrollbars",
                "--virtual-time-budget=15000",
                f"--user-data-dir={profile}",
                f"--window-size={WIDTH},{HEIGHT}",
                f"--screenshot={picture}",
                page.resolve().as_uri(),
            ],
            check=True,
            stderr=subprocess.DEVNULL,
        )
    print(picture)


if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo/index.html"), folder / "demo.png")
