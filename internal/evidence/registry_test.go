package evidence_test

import (
	"assay/internal/evidence"
	"assay/internal/registry"
)

// The client that is meant.
var _ evidence.Client[*registry.Response] = (*registry.Client)(nil)
