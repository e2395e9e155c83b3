"""What belongs to nobody goes; what a document names stays."""

import io
import os
import time

import pytest

from app.database.leases import ORPHAN_SECONDS
from app.intake import Upload
from app.models import BatchOptions, BatchStatus, ImageStatus
from app.removal import remove_orphans


@pytest.mark.plain_site
def test_files_that_no_document_names_go_and_the_others_stay(services, settings, wait_for):
    url = f"{settings.base_url}/samples/cat-240.jpg"
    upload = Upload(io.BytesIO(f"Images\n{url}\n".encode()), "c.csv", "default", BatchOptions())
    request_id = services.intake.accept(upload)
    batch = wait_for(
        lambda: (
            (found := services.database.batches.find(request_id))
            and found.status is BatchStatus.COMPLETED
            and found
        )
    )
    (slot,), _ = services.database.products.page(
        request_id, after=(0, 0), limit=9, status=ImageStatus.COMPLETED
    )
    orphans = [
        settings.processed_dir / request_id / "1-1-cat-240-000000000000.jpg",
        settings.processed_dir / request_id / ".tmp-abandoned",
        settings.upload_dir / request_id / ".tmp-abandoned",
        settings.output_dir / request_id / "9.csv",
    ]
    for path in orphans:
        path.write_bytes(b"left behind")
    young = settings.processed_dir / request_id / "1-1-cat-240-111111111111.jpg"
    young.write_bytes(b"just written")
    long_ago = time.time() - ORPHAN_SECONDS - 1
    for folder in (settings.processed_dir, settings.upload_dir, settings.output_dir):
        for path in (folder / request_id).iterdir():
            if path != young:
                os.utime(path, (long_ago, long_ago))

    remove_orphans(request_id, services.database, services.storage)

    assert not any(path.exists() for path in orphans)
    assert young.exists()
    for key in (batch.upload_path, batch.output_csv_path, slot.image.result.path):
        services.storage.open(key).close()
