// Package web is the face for browsers: pages made here, by html/template, that work without a script and are livelier with one. It decides
// nothing: what a page shows, the door has answered, and where the door could not answer the page says so. What a page changes is a plan
// that was shown, named by its digest.
//
// The server in front of it knows who asks (Config.Who), refuses foreign origins and sends the content security policy
// default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'. So there is no inline
// script, style or handler in any page.
package web

import (
	"net/http"
	"strings"
)

// New makes the handler of all pages.
func New(c Config) http.Handler {
	w := &site{Config: c, pages: parse(), streams: &places{by: map[string]int{}}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /assets/{name}", serveAsset)
	mux.HandleFunc("GET /login", w.login)
	w.routes(mux)
	// The server refuses what comes from another origin; here too, so that the pages do not depend on who mounts them.
	return http.NewCrossOriginProtection().Handler(mux)
}

// Public tells whether a path is for everybody: the login page and what it loads.
func Public(path string) bool { return path == "/login" || strings.HasPrefix(path, "/assets/") }
