#!/usr/bin/env bash
# Send requests in every content type and protocol to a running server, and check every status and reply.
#
#   local_test/predict.sh [URL] [FOLDER]      default: http://localhost:8080 local_test/requests
#
# FOLDER has the same messages in each format, the expected labels in labels.txt, one per line, and invalid requests,
# whose names begin with the expected status and error code. API_TOKEN is sent if it is set.
# The exit status is 1 if a check fails; the differences are printed.
set -euo pipefail
url=${1:-http://localhost:8080}
folder=${2:-$(dirname "$0")/requests}
name=${MODEL_NAME:-model}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0
# Requests to this machine bypass the proxy of the shell.
direct=localhost,127.0.0.1,::1,${no_proxy:-${NO_PROXY:-}}
printf '%s' "${API_TOKEN:+Authorization: Bearer $API_TOKEN}" >"$scratch/authorization"

# ask ROUTE TYPE FILE [CURL OPTION ...]: write the reply to $scratch/reply and print the status.
ask() {
    local route=$1 type=$2 file=$3
    shift 3
    curl --silent --show-error --noproxy "$direct" --max-time 60 --output "$scratch/reply" --write-out '%{http_code}' \
        --header "Content-Type: $type" --header "@$scratch/authorization" \
        --data-binary "@$file" "$@" "$url$route" || true
}

# same TITLE EXPECTED FOUND: compare two files and print the differences.
same() {
    if diff --unified=0 --label expected --label found "$2" "$3" >"$scratch/difference"; then
        echo "ok      $1"
    else
        echo "FAILED  $1"
        sed 's/^/        /' "$scratch/difference"
        failures=$((failures + 1))
    fi
}

# answers TITLE STATUS LABELS: check that the request succeeded with the expected labels.
answers() {
    { echo 200; cat "$folder/labels.txt"; } >"$scratch/expected"
    { echo "$2"; if [ "$2" = 200 ]; then $3 <"$scratch/reply"; else cat "$scratch/reply"; fi; } >"$scratch/found"
    same "$1" "$scratch/expected" "$scratch/found"
}

of_json() { grep -o '"label":"[^"]*"' | cut -d '"' -f 4; }
of_csv() { cut -d , -f 1; }
of_text() { cut -f 1; }
of_tensors() { sed 's/.*"name":"label"[^[]*\[[^[]*\["\([^]]*\)"\].*/\1/; s/","/\n/g' && echo; }

status=$(curl --silent --noproxy "$direct" --max-time 2 --output /dev/null --write-out '%{http_code}' \
    "$url/ping" || true)
if [ "$status" != 200 ]; then
    echo "error: $url/ping answered $status, not 200; start a server with local_test/serve-local.sh." >&2
    exit 1
fi

answers "JSON" "$(ask /invocations application/json "$folder/messages.json")" of_json
answers "JSON Lines" "$(ask /invocations application/jsonlines "$folder/messages.jsonl")" of_json
answers "CSV" "$(ask /invocations text/csv "$folder/messages.csv")" of_csv
answers "plain text" "$(ask /invocations text/plain "$folder/messages.txt")" of_text
answers "KServe v1" "$(ask "/v1/models/$name:predict" application/json "$folder/messages.json")" of_json
answers "Open Inference v2" "$(ask "/v2/models/$name/infer" application/json "$folder/open_inference.json")" of_tensors
gzip --stdout "$folder/messages.json" >"$scratch/messages.json.gz"
answers "gzip" \
    "$(ask /invocations application/json "$scratch/messages.json.gz" --header 'Content-Encoding: gzip')" of_json

# A text has the same score in all formats.
ask /invocations application/json "$folder/messages.json" --header 'Accept: text/plain' >/dev/null
cp "$scratch/reply" "$scratch/scores"
for file in messages.jsonl:application/jsonlines messages.csv:text/csv messages.txt:text/plain; do
    ask /invocations "${file#*:}" "$folder/${file%:*}" --header 'Accept: text/plain' >/dev/null
    same "scores of ${file%:*} are those of JSON" "$scratch/scores" "$scratch/reply"
done

# The reply to 400_empty_text.json must have the status 400 and the code empty_text.
for file in "$folder"/4??_*; do
    verdict=$(basename "${file%.*}")
    case ${file##*.} in json) type=application/json ;; csv) type=text/csv ;; *) type=application/xml ;; esac
    printf '%s\n' "${verdict/_/ }" >"$scratch/expected"
    status=$(ask /invocations "$type" "$file")
    code=$(grep -o '"code":"[^"]*"' "$scratch/reply" | cut -d '"' -f 4 || true)
    echo "$status $code" >"$scratch/found"
    same "refused: $verdict" "$scratch/expected" "$scratch/found"
done

if [ "$failures" -gt 0 ]; then
    echo "error: $failures of the checks failed; see above." >&2
    exit 1
fi
echo "All checks passed."
