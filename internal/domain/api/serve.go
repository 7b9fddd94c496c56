package api

import "github.com/leastkey/leastkey/internal/domain/secret"

// ServeRequest starts the admin server.
type ServeRequest struct {
	Target
	Listen      string // host:port; "" is loopback
	TLSCert     string // PEM files; both or none
	TLSKey      string
	BehindProxy string // the public name, HOST[:PORT], of a reverse proxy that speaks TLS before the server
	LegacyAgent string // of the seed's endpoints; "" is the only agent
	SecretFile  string // file with the seed's ADMIN_SECRET; "" is the systemd credential admin-secret, if there is one
	MetricsOpen bool   // anybody who reaches a loopback address may read /metrics
	NoLink      bool   // print no login link
	Idle        bool   // do nothing that is due
	Quiet       bool   // log warnings alone
	Trace       string // file that gets the traces; "" is none
}

// ServeInfo is a server that answers.
type ServeInfo struct {
	URL   string       `json:"url"`
	Login secret.Value `json:"-"`               // a login link, good once and for five minutes; empty if none was wanted
	Notes []string     `json:"notes,omitempty"` // what the operator should know
}
