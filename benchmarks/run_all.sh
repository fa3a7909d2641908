#!/usr/bin/env bash
# Measures all tables of docs/benchmarks.md, the cheapest first, then renders the page.
#
#   benchmarks/run_all.sh DATA [NAME...]
#
# DATA is the folder of the image sets, see benchmarks/_sets.py. With names, only these tables are measured. Uses the
# python on PATH; PYTHONPATH has to lead to the package if it is not installed. Nothing else should run on the machine.
set -euo pipefail
data="$(realpath "${1:?usage: benchmarks/run_all.sh DATA [NAME...]}")"
shift
cd "$(dirname "$0")/.."

# Name, expected duration on two cores, options.
commands=(
  "hostile          |  1 min |"
  "kernels          |  1 min |"
  "backbone_speed   |  1 min |"
  "gpu              |  2 min |"
  "busy             |  2 min |"
  "memory           |  4 min |"
  "large_images     | 30 min |"
  "report           |  5 min |"
  "reruns           |  4 min | --data $data"
  "fca_speed        |  4 min |"
  "ward_scale       |  5 min |"
  "stages           |  5 min | --data $data"
  "regions          |  6 min | --data $data"
  "review           |  6 min | --data $data"
  "several_defects  |  8 min | --data $data"
  "fitted_model     | 60 min | --data $data --seeds 1 --limit 400"
  "prediction_time  |  2 min | --data $data"
  "scale            | 15 min |"
  "kills            | 15 min |"
  "views            |  8 min | --data $data"
  "vae_sampling     | 15 min | --data $data"
  "moved_threshold  | 15 min | --data $data"
  "reject_bins      | 20 min | --data $data"
  "known_normal     | 20 min | --data $data"
  "anomaly_decision | 25 min | --data $data"
  "drawn            | 30 min | --data $data"
  "networks         |  2 h   | --data $data"
  "defaults         |  2 h   | --data $data"
  "accuracy         |  6 h   | --data $data"
)

for line in "${commands[@]}"; do
  IFS="|" read -r name duration options <<<"$line"
  name="${name// /}"
  if (($#)) && [[ " $* " != *" $name "* ]]; then continue; fi
  echo "== $name, about${duration%"${duration##*[! ]}"}"
  # shellcheck disable=SC2086  # options are words; a folder with blanks needs a link without
  python -m "benchmarks.$name" $options --write
done
echo "Take the measured names out of NOT_MEASURED in benchmarks/render.py, then: python -m benchmarks.render"
