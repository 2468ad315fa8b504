"""Small objects that are replaced only if nobody else replaced them meanwhile.

If-Match and If-None-Match with the ETag on S3, a generation match on Google Cloud Storage.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html,
https://cloud.google.com/storage/docs/request-preconditions
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from serving.errors import UserError
from serving.store_contract import LedgerConflictError, Snapshot

__all__ = ["Documents", "GcsDocuments", "S3Documents"]

_ACCESS = {
    "s3://": "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL",
    "gs://": "run `gcloud auth application-default login` or set GOOGLE_APPLICATION_CREDENTIALS",
}


class Documents(Protocol):
    """Small objects that are replaced only if nobody else did."""

    never: str
    """A token that no object ever has."""

    def read(self, name: str) -> Snapshot | None:
        """The object's bytes and token, None if there is none."""
        ...

    def write(self, name: str, data: bytes, expected: str | None) -> None:
        """Puts the object if its token is the expected one; None expects no object.

        Raises:
            LedgerConflictError: it is another one by now.
        """
        ...

    def stamp(self, name: str) -> str | None:
        """The object's token without its bytes, None if there is none."""
        ...


class S3Documents:
    """Conditional puts by ETag."""

    never = '"0"'

    def __init__(self, base: str, filesystem: Any) -> None:
        self._bucket, _, self._prefix = base.removeprefix("s3://").partition("/")
        self._fs = filesystem

    def read(self, name: str) -> Snapshot | None:
        """The object's bytes and ETag."""
        import fsspec.asyn

        try:
            with _explain_access(f"s3://{self._bucket}"):
                answer = self._fs.call_s3("get_object", **self._place(name))
        except FileNotFoundError:
            return None
        data = fsspec.asyn.sync(self._fs.loop, answer["Body"].read)
        return Snapshot(data, answer["ETag"])

    def write(self, name: str, data: bytes, expected: str | None) -> None:
        """Puts the object under a condition on its ETag."""
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        try:
            with _explain_access(f"s3://{self._bucket}"):
                self._fs.call_s3("put_object", **self._place(name), Body=data, **condition)
        except FileNotFoundError as error:
            raise _no_bucket(f"s3://{self._bucket}") from error
        except OSError as error:
            if _s3_code(error) in ("PreconditionFailed", "ConditionalRequestConflict", "412"):
                raise LedgerConflictError(name) from error
            raise

    def stamp(self, name: str) -> str | None:
        """The object's ETag."""
        try:
            return str(self._fs.call_s3("head_object", **self._place(name))["ETag"])
        except FileNotFoundError:
            return None

    def _place(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}/{name}".lstrip("/")}


class GcsDocuments:
    """Conditional puts by object generation."""

    never = "1"

    def __init__(self, base: str) -> None:
        from google.cloud import storage

        bucket, _, self._prefix = base.removeprefix("gs://").partition("/")
        with _explain_access(f"gs://{bucket}"):
            self._bucket = storage.Client().bucket(bucket)

    def read(self, name: str) -> Snapshot | None:
        """The object's bytes and generation."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        while True:
            with _explain_access(f"gs://{self._bucket.name}"):
                blob = self._bucket.get_blob(self._key(name))
            if blob is None:
                return None
            token = blob.generation
            try:
                data = blob.download_as_bytes(if_generation_match=token)
            except (NotFound, PreconditionFailed):
                # Replaced between the two requests: the next round reads the new one.
                continue
            return Snapshot(data, str(token))

    def write(self, name: str, data: bytes, expected: str | None) -> None:
        """Puts the object under a condition on its generation."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        # Generation 0 stands for "there is no such object".
        generation = 0 if expected is None else int(expected)
        try:
            self._bucket.blob(self._key(name)).upload_from_string(
                data, content_type="application/json", if_generation_match=generation
            )
        except PreconditionFailed as error:
            raise LedgerConflictError(name) from error
        except NotFound as error:
            raise _no_bucket(f"gs://{self._bucket.name}") from error

    def stamp(self, name: str) -> str | None:
        """The object's generation."""
        blob = self._bucket.get_blob(self._key(name))
        return None if blob is None else str(blob.generation)

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}".lstrip("/")


@contextmanager
def _explain_access(bucket: str) -> Iterator[None]:
    """Turns missing or wrong credentials and an unreachable store into a message.

    Raises:
        UserError: instead of the client library's error.
    """
    try:
        yield
    except (LedgerConflictError, FileNotFoundError):
        raise
    except Exception as error:
        module = type(error).__module__
        if not isinstance(error, PermissionError) and not module.startswith(
            ("botocore.", "aiobotocore.", "google.auth.", "google.api_core.")
        ):
            raise
        raise UserError(
            f"{bucket} can't be reached: {error}",
            expected="credentials and an endpoint in the environment, and leave to read and write",
            fix=_ACCESS[bucket[:5]],
        ) from error


def _no_bucket(bucket: str) -> UserError:
    return UserError(
        f"there is no bucket {bucket}",
        expected="a bucket that exists",
        fix="create it or correct push.directory",
    )


def _s3_code(error: BaseException) -> str:
    cause = error.__cause__
    response = getattr(cause, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
