package entra

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

const (
	deviceLife     = 15 * time.Minute // Entra says 900 seconds
	deviceInterval = 5 * time.Second
	deviceLimit    = 4096
	// deviceLetters leaves out what people confuse.
	deviceLetters = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
)

// deviceCode is one sign-in that waits for its person (RFC 8628).
type deviceCode struct {
	secret   [32]byte // SHA-256 of the device code
	userCode string
	clientID string
	want     scopes
	expires  time.Time
	polled   time.Time // last; zero before the first
	user     string    // object id of who approved; "" while nobody has
	denied   bool
}

// deviceCodes are the waiting sign-ins by user code. They live in memory: a restart ends them, and people start over.
type deviceCodes struct {
	mu    sync.Mutex
	codes map[string]*deviceCode
}

// The reasons for which ApproveDevice and DenyDevice refuse.
var (
	ErrNoCode = errors.New("no sign-in waits for this code")
	ErrNoUser = errors.New("no such user, or the account is disabled")
)

// add keeps a code after dropping expired ones, and the ones closest to expiry if there are too many.
func (d *deviceCodes) add(c *deviceCode, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.codes == nil {
		d.codes = map[string]*deviceCode{}
	}
	var oldest *deviceCode
	for key, old := range d.codes {
		// An expired one is kept for a while, so that its client is told that it expired and not that it never was.
		if now.After(old.expires.Add(deviceLife)) {
			delete(d.codes, key)
			continue
		}
		if oldest == nil || old.expires.Before(oldest.expires) {
			oldest = old
		}
	}
	if len(d.codes) >= deviceLimit && oldest != nil {
		delete(d.codes, oldest.userCode)
	}
	d.codes[c.userCode] = c
}

// settle approves (user set) or denies (user "") the sign-in with the code.
func (d *deviceCodes) settle(userCode, user string, now time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.codes[foldCode(userCode)]
	if c == nil || now.After(c.expires) || c.user != "" || c.denied {
		return ErrNoCode
	}
	c.user, c.denied = user, user == ""
	return nil
}

func foldCode(s string) string {
	return strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(s))
}

// ApproveDevice signs the user in on the device that shows the code. The error is ErrNoCode or ErrNoUser.
func (s *Service) ApproveDevice(userCode, upn string) error {
	var u directory.User
	var found bool
	s.env.Dir.Store.Read(replica.Login, func(v replica.View) { u, found = s.userByName(v, upn) })
	if s.checkUser(u, found) != nil || u.Agent != "" { // an agent user cannot sign in
		return ErrNoUser
	}
	return s.devices.settle(userCode, u.ID, s.env.Now())
}

// DenyDevice refuses the sign-in with the code. The error is ErrNoCode.
func (s *Service) DenyDevice(userCode string) error {
	return s.devices.settle(userCode, "", s.env.Now())
}

// v2Device and v1Device are the answers of the two endpoints.
type v2Device struct {
	UserCode   string `json:"user_code"`
	DeviceCode string `json:"device_code"`
	URI        string `json:"verification_uri"`
	ExpiresIn  int    `json:"expires_in"`
	Interval   int    `json:"interval"`
	Message    string `json:"message"`
}

type v1Device struct {
	UserCode   string `json:"user_code"`
	DeviceCode string `json:"device_code"`
	URL        string `json:"verification_url"`
	ExpiresIn  int    `json:"expires_in,string"`
	Interval   int    `json:"interval,string"`
	Message    string `json:"message"`
}

// deviceCode starts a sign-in (RFC 8628 §3.1).
func (s *Service) deviceCode(w http.ResponseWriter, r *http.Request, ep endpoint) {
	form, f := readForm(w, r)
	if f == nil {
		f = s.knownTenant(ep, true)
	}
	var want scopes
	if f == nil {
		want, f = askedFor(ep, form.Get("scope"), form.Get("resource"), false)
	}
	if f == nil {
		var c client
		s.env.Dir.Store.Read(replica.Login, func(v replica.View) { c = s.readClient(v, form.Get("client_id")) })
		f = s.known(c)
	}
	if f != nil {
		s.refuse(w, r, f)
		return
	}
	secret := s.opaque(48)
	now := s.env.Now()
	c := &deviceCode{secret: sha256.Sum256([]byte(secret)), userCode: s.userCode(), clientID: strings.ToLower(form.Get("client_id")), want: want, expires: now.Add(deviceLife)}
	s.devices.add(c, now)
	where := s.login() + "/devicelogin"
	message := fmt.Sprintf("To sign in, use a web browser to open the page %s and enter the code %s to authenticate.", where, c.userCode)
	s.headers(w, r)
	life, interval := int(deviceLife.Seconds()), int(deviceInterval.Seconds())
	if ep.style == v1 {
		service.JSON(w, http.StatusOK, v1Device{c.userCode, secret, where, life, interval, message})
		return
	}
	service.JSON(w, http.StatusOK, v2Device{c.userCode, secret, where, life, interval, message})
}

// userCode is nine letters; 32 letters divide 256, so each is equally likely.
func (s *Service) userCode() string {
	b := s.env.Random(9)
	for i := range b {
		b[i] = deviceLetters[b[i]%32]
	}
	return string(b)
}

// deviceGrant answers a device that polls (RFC 8628 §3.4, §3.5; the errors are those of Microsoft, "OAuth 2.0 device authorization
// grant"). A code is good for one answer.
func (s *Service) deviceGrant(ctx ctx, q *request) (any, *failure) {
	secret := q.form.Get("device_code")
	if secret == "" {
		secret = q.form.Get("code") // the v1.0 name
	}
	switch {
	case q.clientID == "":
		return nil, missing("client_id")
	case secret == "":
		return nil, missing("device_code")
	}
	user, want, f := s.poll(secret, strings.ToLower(q.clientID))
	if f != nil {
		return nil, f
	}
	return s.forUser(ctx, q, want, func() (string, *failure) {
		if !s.devices.take(secret) { // only now that the client is proven; another poll may have been quicker
			return "", badCode()
		}
		return user, nil
	})
}

func badCode() *failure {
	return fail(400, "bad_verification_code", 70018, "Invalid verification code due to User typing in wrong user code for device code flow. Authorization isn't approved.")
}

// find returns the sign-in with the device code, nil if there is none. The lock is held.
func (d *deviceCodes) find(secret string) *deviceCode {
	sum := sha256.Sum256([]byte(secret))
	for _, c := range d.codes {
		if c.secret == sum { // hashes: their comparison tells nothing about the code
			return c
		}
	}
	return nil
}

// take removes the sign-in with the device code and tells whether it was still there.
func (d *deviceCodes) take(secret string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.find(secret)
	if c != nil {
		delete(d.codes, c.userCode)
	}
	return c != nil
}

// poll looks a device code up, for whoever has it: it takes nothing away.
func (s *Service) poll(secret, client string) (user string, want scopes, f *failure) {
	now, d := s.env.Now(), &s.devices
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.find(secret)
	switch {
	case c == nil || c.clientID != client:
		return "", want, badCode()
	case now.After(c.expires):
		return "", want, fail(400, "expired_token", 70019, "Verification code expired. Have the user retry the sign-in.")
	case c.denied:
		// The documented error; which code goes with it was not seen live.
		return "", want, fail(400, "authorization_declined", 65004, "User declined to consent to access the app.")
	case c.user != "":
		return c.user, c.want, nil
	case !c.polled.IsZero() && now.Sub(c.polled) < deviceInterval-time.Second:
		// RFC 8628 §3.5. A second is forgiven: clients count whole ones. Entra's page does not list slow_down, its clients know it.
		return "", want, fail(400, "slow_down", 70016, "OAuth 2.0 device flow error. The client polls faster than the interval allows. Increase the interval by five seconds.")
	}
	c.polled = now
	return "", want, fail(400, "authorization_pending", 70016, "OAuth 2.0 device flow error. Authorization is pending. Continue polling.")
}
