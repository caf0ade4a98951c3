#!/usr/bin/env bash
# Starts the cluster and the local services unless they are running, and installs the chart with the images of this
# checkout.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cluster=$root/kind-tests/cluster
bash "$cluster/cluster.sh" up
eval "$(bash "$cluster/cluster.sh" env)"
"${CARGO_TARGET_DIR:?}/release/kind-tests" up
images=$(bash "$cluster/images.sh")
eval "$images"
# Pods that are not as restricted as they should be don't start.
kubectl apply --server-side -f - >/dev/null <<-END
	apiVersion: v1
	kind: Namespace
	metadata:
	  name: s3-migration-system
	  labels: {pod-security.kubernetes.io/enforce: restricted}
END
began=$SECONDS
helm upgrade --install s3-migration "$root/charts/s3-migration" \
	--namespace s3-migration-system --wait --timeout 120s \
	--set image.repository="${OPERATOR_IMAGE%:*}" --set-string image.tag="${OPERATOR_IMAGE##*:}" \
	--set worker.image.repository="${WORKER_IMAGE%:*}" --set-string worker.image.tag="${WORKER_IMAGE##*:}" \
	--set logFormat=text >/dev/null
echo "chart installed in $((SECONDS - began)) s"
