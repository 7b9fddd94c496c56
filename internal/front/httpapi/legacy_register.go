package httpapi

import "net/http"

// registerLegacy registers the seed's endpoints.
func registerLegacy(_ *Server, _ *http.ServeMux) {}
