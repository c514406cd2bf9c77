"""The code of the function that calls the endpoint: a zip file in a bucket, named by a digest of its content."""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

from ops.aws import explained
from ops.plan import Step

HANDLER = Path(__file__).resolve().parent / "handler.py"


class Code:
    """The zip file of the function in `folder` of a bucket, through a client of boto3."""

    def __init__(self, s3: Any, bucket: str, folder: str) -> None:
        self._s3, self._bucket, self._folder = s3, bucket, folder
        self._zip = zipped(HANDLER)
        self.key = f"{folder}/{hashlib.sha256(self._zip).hexdigest()[:16]}.zip"

    def upload(self) -> Step:
        """Return the step that uploads it; the stack's step undoes it, because an existing stack may still need it."""
        request = {"Bucket": self._bucket, "Key": self.key}
        return Step("upload the function's code", self._put, request, lambda: self.key in self._keys())

    def removal(self) -> Step:
        """Return the step that deletes all versions of it."""
        title = f"delete the function's code in s3://{self._bucket}/{self._folder}/"
        return Step(title, self.delete_all, is_done=lambda: not self._keys())

    def delete_all(self) -> None:
        """Delete all versions of it.

        Raises:
            CloudError: AWS refuses.
        """
        with explained(f"delete the function's code in {self._bucket}"):
            for key in self._keys():
                if key.endswith(".zip"):
                    self._s3.delete_object(Bucket=self._bucket, Key=key)

    def _put(self) -> None:
        with explained(f"upload the function's code to `code_bucket` {self._bucket}"):
            self._s3.put_object(Bucket=self._bucket, Key=self.key, Body=self._zip, ServerSideEncryption="AES256")

    def _keys(self) -> list[str]:
        with explained(f"list `code_bucket` {self._bucket}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{self._folder}/")
            return [str(entry["Key"]) for page in pages for entry in page.get("Contents", [])]


def zipped(file: Path) -> bytes:
    """Return a zip file of one file; the same content gives the same bytes."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as code:
        entry = zipfile.ZipInfo(file.name, (1980, 1, 1, 0, 0, 0))
        entry.external_attr = 0o644 << 16
        code.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return archive.getvalue()
