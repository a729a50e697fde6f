// Package crd holds the kinds' OpenAPI schemas, generated from api/v1 by controller-gen: for `cbctl explain`, for editors that
// check YAML, and for whoever keeps the same resources in a Kubernetes cluster.
package crd

import "embed"

// Files are clusterbackup_PLURAL.yaml, one CustomResourceDefinition each.
//
//go:embed *.yaml
var Files embed.FS
