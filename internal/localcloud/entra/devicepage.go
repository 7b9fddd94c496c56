package entra

import (
	"net/http"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// devicePage is where a person enters the code. It has no script, and no token against forged requests: whoever posts the form sends
// the user's name and password with it and there is no session that a forgery could ride on.
const devicePage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in: Leastkey local cloud</title>
<link rel="stylesheet" href="/devicelogin/style.css">
<main>
<h1>Sign in to the local cloud</h1>
<p>Users of the tenant {{.Tenant}} are test users. Never enter a real password here.</p>
{{with .Done}}<p role="status">{{.}}</p>{{else}}
{{with .Problem}}<p role="alert">{{.}}</p>{{end}}
<form method="post" action="/devicelogin" autocomplete="off">
<label for="code">Code that the device shows</label>
<input id="code" name="code" value="{{.Code}}" required autofocus spellcheck="false" autocapitalize="characters">
<label for="username">User name</label>
<input id="username" name="username" value="{{.User}}" required spellcheck="false">
<label for="password">Password</label>
<input id="password" name="password" type="password" required>
<button name="action" value="approve">Sign in</button>
<button name="action" value="deny">This was not me</button>
</form>{{end}}
</main>
</html>
`

const deviceStyle = `body{font:1rem/1.5 system-ui,sans-serif;margin:0;background:#f4f5f7;color:#1b1f24}
main{max-width:26rem;margin:10vh auto;padding:2rem;background:#fff;border:1px solid #d0d7de;border-radius:.5rem}
h1{font-size:1.3rem;margin:0 0 1rem}
label{display:block;margin-top:1rem;font-weight:600}
input{box-sizing:border-box;width:100%;padding:.5rem;font:inherit;border:1px solid #6e7781;border-radius:.25rem}
button{margin:1.5rem .5rem 0 0;padding:.5rem 1rem;font:inherit;cursor:pointer}
[role=alert]{color:#a40e26}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}main{background:#161b22;border-color:#30363d}input{background:#0d1117;color:inherit}[role=alert]{color:#ff7b72}}
`

type devicePageData struct{ Tenant, Code, User, Problem, Done string }

// deviceLogin serves the page and takes its form.
func (s *Service) deviceLogin(w http.ResponseWriter, r *http.Request, path string) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	if path == "devicelogin/style.css" {
		h.Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write([]byte(deviceStyle))
		return
	}
	data := devicePageData{Tenant: s.env.Dir.Tenant.Domain, Code: r.URL.Query().Get("otc")}
	status := http.StatusOK
	switch {
	case path != "devicelogin":
		http.NotFound(w, r)
		return
	case r.Method == http.MethodPost:
		form, f := readForm(w, r)
		if f != nil {
			http.Error(w, "The form could not be read.", http.StatusBadRequest)
			return
		}
		data.Code, data.User = form.Get("code"), form.Get("username")
		if data.Done, data.Problem = s.settlePage(data.Code, data.User, form.Get("password"), form.Get("action")); data.Problem != "" {
			status = http.StatusBadRequest
		}
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD, POST")
		http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
		return
	}
	var page strings.Builder
	if err := s.page.Execute(&page, data); err != nil {
		http.Error(w, "The page could not be made.", http.StatusInternalServerError)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(page.String()))
}

// settlePage does what the form says and returns the sentence to show.
func (s *Service) settlePage(code, upn, password, action string) (done, problem string) {
	var u directory.User
	var found bool
	s.env.Dir.Store.Read(replica.Login, func(v replica.View) { u, found = s.userByName(v, upn) })
	// Whether the name or the password is wrong is not told apart.
	if s.checkUser(u, found) != nil || checkPassword(u, password) != nil {
		return "", "User name or password is wrong."
	}
	var err error
	done = "You have signed in. You may close this page and go back to your device."
	switch action {
	case "approve":
		err = s.devices.settle(code, u.ID, s.env.Now())
	case "deny":
		done = "The sign-in was refused. You may close this page."
		err = s.devices.settle(code, "", s.env.Now())
	default:
		return "", "Choose one of the two buttons."
	}
	if err != nil {
		return "", "That code is not valid, or no longer. Ask the device for a new one."
	}
	return done, ""
}
