"""MiniStack with the CRC-64/NVME of the AWS Common Runtime.

Its own is a loop in Python that takes three seconds for a part of 16 MB: whatever the workers do, the tests would measure
that loop.
"""

import sys

from awscrt.checksums import crc64nvme
from ministack import app
from ministack.services import s3

if s3._crc64nvme(b"123456789") != crc64nvme(b"123456789"):
    sys.exit("failed to replace MiniStack's CRC-64/NVME: it computes another one")
s3._crc64nvme = crc64nvme
sys.exit(app.main())
