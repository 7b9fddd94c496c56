package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed assets/*.css assets/*.js assets/*.svg
var assets embed.FS

// assetPath is where an asset is found: its name with the beginning of its hash, so that it may be kept for ever, and a new version of the
// program brings a new address. An asset that is not there has no path; a template that names one does not render.
func assetPath(name string) (string, error) {
	b, err := assets.ReadFile("assets/" + name)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	ext := path.Ext(name)
	return "/assets/" + strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:8]) + ext, nil
}

// serveAsset serves an asset by the path that assetPath gives, and nothing under another hash: what is kept for ever must be what was asked
// for.
func serveAsset(w http.ResponseWriter, r *http.Request) {
	asked := r.PathValue("name")
	ext := path.Ext(asked)
	name := strings.TrimSuffix(asked, ext)
	name = strings.TrimSuffix(name, path.Ext(name)) + ext
	if at, err := assetPath(name); err != nil || at != "/assets/"+asked {
		http.NotFound(w, r)
		return
	}
	b, err := assets.ReadFile("assets/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Content-Type", mime.TypeByExtension(ext))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
}
