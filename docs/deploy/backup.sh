#!/bin/sh
# Saves the database and then the files, which never change: backup.sh FOLDER
#
# Run as the service's user, with its settings in the environment. Keeps DAYS days of the database.
set -eu
folder=$1
days=${DAYS:-14}
umask 077
mkdir -p "$folder/files"

database=$folder/database-$(date -u +%Y%m%dT%H%M%SZ).gz
if [ -n "${MONGODB_URI:-}" ]; then
  mongodump --uri="$MONGODB_URI" --db="${MONGODB_DATABASE:-image_processor}" --gzip \
    --archive="$database.part"
else
  "${PYTHON:-/opt/pressroom/current/.venv/bin/python}" -m app.database.backup save "$database.part"
fi
mv "$database.part" "$database"

# Only what is new. What the service has deleted since stays here, until you remove it.
# A bucket (STORAGE_URL) has a backup of its own.
if [ -z "${STORAGE_URL:-}" ]; then
  for area in "$UPLOAD_DIR" "$PROCESSED_DIR" "$OUTPUT_DIR"; do
    cp -a -u "$area" "$folder/files/"
  done
fi

find "$folder" -maxdepth 1 -name 'database-*.gz*' -mtime "+$days" -delete
