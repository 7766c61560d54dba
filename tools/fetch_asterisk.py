"""Get the Debian packages of the corpus `asterisk` and unpack them into a folder, without root and without installing.

    python tools/fetch_asterisk.py RAW_DIR

Needs `apt-get` and `dpkg-deb` (Debian, Ubuntu and the like). Where apt has no package lists it fetches lists of its
own, into RAW_DIR/apt, from the sources that the machine is set up with. 18 MB. What is there isn't fetched again.
"""

import sys

from debian_packages import main

PACKAGES = ("asterisk-core-sounds-en", "asterisk-core-sounds-en-wav")
TEXTS = "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
A_SOUND = "usr/share/asterisk/sounds/en_US_f_Allison/activated.wav"

if __name__ == "__main__":
    sys.exit(main(PACKAGES, (TEXTS, A_SOUND)))
