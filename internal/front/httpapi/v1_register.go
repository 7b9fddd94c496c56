package httpapi

import "github.com/danielgtaylor/huma/v2"

// registerV1 registers the operations of /api/v1.
func registerV1(_ *Server, _ huma.API) {}
