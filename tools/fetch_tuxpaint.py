"""Get the Debian package of the corpus `tuxpaint` and unpack it into a folder, without root and without installing.

    python tools/fetch_tuxpaint.py RAW_DIR

Needs what tools/fetch_asterisk.py needs. 161 MB to download, 230 MB unpacked. What is there isn't fetched again.
"""

import sys

from debian_packages import main

PACKAGES = ("tuxpaint-stamps-default",)
STAMPS = "usr/share/tuxpaint/stamps/animals/insects/cartoon"

if __name__ == "__main__":
    sys.exit(main(PACKAGES, (f"{STAMPS}/spider.txt", f"{STAMPS}/spider_desc_be.ogg")))
