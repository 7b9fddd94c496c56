package httpapi

import "github.com/danielgtaylor/huma/v2"

// Described is the API as OpenAPI has it, with its schemas as huma validates by them.
func (s *Server) Described() huma.API { return s.api }
