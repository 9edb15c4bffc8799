#!/usr/bin/env bash
# curl alone: one call that waits, then the same through the queue. `bash call.sh ARCHIVE_URL`, with FAL_KEY set.
set -euo pipefail

body='{"image_archive_url": "'$1'", "prompt": "portrait photo of a man img, smiling", "num_inference_steps": 20}'
send() {
  curl --silent --show-error --fail-with-body \
    --header "Authorization: Key $FAL_KEY" --header "Content-Type: application/json" "$@"
}

echo "waiting for one call"
send --data "$body" https://fal.run/fal-ai/photomaker | head -c 300 && echo

request=$(send --data "$body" https://queue.fal.run/fal-ai/photomaker | sed 's/.*"request_id": *"\([^"]*\)".*/\1/')
url=https://queue.fal.run/fal-ai/photomaker/requests/$request
echo "submitted $request"
until send "$url/status" | grep --quiet COMPLETED; do
  sleep 0.5
done
send "$url" | head -c 300 && echo
