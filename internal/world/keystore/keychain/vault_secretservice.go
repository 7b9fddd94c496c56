//go:build !darwin && !windows

package keychain

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// Names of the Secret Service API, https://specifications.freedesktop.org/secret-service/latest/.
const (
	ssName       = "org.freedesktop.secrets"
	ssPath       = dbus.ObjectPath("/org/freedesktop/secrets")
	ssService    = "org.freedesktop.Secret.Service"
	ssCollection = "org.freedesktop.Secret.Collection"
	ssItem       = "org.freedesktop.Secret.Item"
	ssSession    = dbus.ObjectPath("/org/freedesktop/secrets/collection/session") // lost at logout
	nowhere      = dbus.ObjectPath("/")
)

// secretService speaks to the Secret Service itself, because go-keyring, which serves elsewhere, replaces an entry that is there, waits
// without end for a prompt that nobody sees, and knows no context. The entries are the same: either program finds the other's.
//
// Each call opens a connection of its own. It never raises a prompt: a broker at night has nobody to answer it.
type secretService struct {
	address func() string // the bus; "" if there is none
}

func systemVault() vault { return secretService{address: sessionBus} }

// attributes are those of go-keyring and of Python's keyring, so that what one of them stored is found.
func attributes(service, account string) map[string]string {
	return map[string]string{"service": service, "username": account}
}

// sealed is the Secret structure of the API. The session is "plain": the bytes cross a Unix socket between processes of one user.
type sealed struct {
	Session     dbus.ObjectPath
	Parameters  []byte
	Value       []byte
	ContentType string
}

func (v secretService) get(ctx context.Context, service, account string) ([]byte, error) {
	bus, err := v.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer bus.close()
	item, err := bus.find(service, account)
	if err != nil {
		return nil, err
	}
	session, err := bus.open()
	if err != nil {
		return nil, err
	}
	var s sealed
	if err := bus.call(item, ssItem+".GetSecret", session).Store(&s); err != nil {
		return nil, bus.fault("read entry", err)
	}
	return s.Value, nil
}

// add writes with replace off: what another program stored meanwhile stays. Then there are two entries; ours, which we know by its
// path, goes, and the caller hears of a conflict.
func (v secretService) add(ctx context.Context, service, account string, content secret.Value) error {
	bus, err := v.connect(ctx)
	if err != nil {
		return err
	}
	defer bus.close()
	return bus.add(service, account, content)
}

// put sets the secret of the entry that is there; its path and attributes stay. CreateItem with replace on would leave it to the service
// which entry, if any, it takes for the same one.
func (v secretService) put(ctx context.Context, service, account string, content secret.Value) error {
	bus, err := v.connect(ctx)
	if err != nil {
		return err
	}
	defer bus.close()
	item, err := bus.find(service, account)
	if fault.Is(err, fault.NotFound) {
		return bus.add(service, account, content)
	}
	if err != nil {
		return err
	}
	session, err := bus.open()
	if err != nil {
		return err
	}
	err = content.Use(func(b []byte) error { return bus.call(item, ssItem+".SetSecret", seal(session, b)).Err })
	if err != nil {
		return bus.fault("change entry", err)
	}
	return nil
}

func (v secretService) remove(ctx context.Context, service, account string) error {
	bus, err := v.connect(ctx)
	if err != nil {
		return err
	}
	defer bus.close()
	item, err := bus.find(service, account)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return bus.delete(item)
}

// List names the keys of our service, sorted. A locked keychain is an error: its list would be short.
func (s *Store) List(ctx context.Context) ([]string, error) {
	v, ok := s.vault.(secretService)
	if !ok {
		return nil, fault.New(fault.Unsupported, "this keychain cannot be listed", "")
	}
	if err := ctx.Err(); err != nil {
		return nil, keystore.Interrupted("list keys in the keychain", err)
	}
	bus, err := v.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer bus.close()
	if _, err := bus.collection(); err != nil {
		return nil, err
	}
	open, locked, err := bus.search(map[string]string{"service": s.service})
	if err != nil {
		return nil, err
	}
	if len(locked) > 0 {
		return nil, lockedKeychain()
	}
	var names []string
	for _, item := range open {
		var attrs map[string]string
		if err := bus.property(item, ssItem, "Attributes", &attrs); err != nil {
			return nil, bus.fault("read attributes of entry", err)
		}
		if name := attrs["username"]; keystore.CheckName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func seal(session dbus.ObjectPath, b []byte) sealed {
	return sealed{Session: session, Parameters: []byte{}, Value: b, ContentType: "text/plain; charset=utf8"}
}

// label is what the desktop's password manager shows.
func label(account string) string {
	if name, ok := keystore.SecretName(account); ok {
		return "Leastkey: secret " + name
	}
	return "Leastkey: private key of " + account
}

// conversation is one connection to the service.
type conversation struct {
	ctx context.Context
	bus *dbus.Conn
}

func (v secretService) connect(ctx context.Context) (*conversation, error) {
	bus, err := dialBus(ctx, v.address())
	if err != nil {
		return nil, err
	}
	return &conversation{ctx: ctx, bus: bus}, nil
}

// close ends the connection, and with it the session that open began.
func (c *conversation) close() { _ = c.bus.Close() }

// call asks again while the service says that it has no such method or object: gnome-keyring takes its objects off the bus for a moment
// when several clients come and go at once (seen 2026-11, version 42), and what it does not know it has not done.
func (c *conversation) call(path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	for n := 0; ; n++ {
		done := c.bus.Object(ssName, path).CallWithContext(c.ctx, method, 0, args...)
		answer, ok := errors.AsType[dbus.Error](done.Err)
		gone := ok && (answer.Name == "org.freedesktop.DBus.Error.UnknownMethod" || answer.Name == "org.freedesktop.DBus.Error.UnknownObject")
		if !gone || !c.pause(n) {
			return done
		}
	}
}

// pause waits before the next of a few tries, two seconds in all; false if it was the last, or the caller has gone.
func (c *conversation) pause(n int) bool {
	if n >= 20 {
		return false
	}
	t := time.NewTimer(100 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

func (c *conversation) property(path dbus.ObjectPath, iface, name string, into any) error {
	var v dbus.Variant
	if err := c.call(path, "org.freedesktop.DBus.Properties.Get", iface, name).Store(&v); err != nil {
		return err
	}
	return v.Store(into)
}

func (c *conversation) open() (dbus.ObjectPath, error) {
	var none dbus.Variant
	var session dbus.ObjectPath
	if err := c.call(ssPath, ssService+".OpenSession", "plain", dbus.MakeVariant("")).Store(&none, &session); err != nil {
		return "", c.fault("open session", err)
	}
	return session, nil
}

func (c *conversation) search(attrs map[string]string) (open, locked []dbus.ObjectPath, err error) {
	if err := c.call(ssPath, ssService+".SearchItems", attrs).Store(&open, &locked); err != nil {
		return nil, nil, c.fault("search", err)
	}
	return open, locked, nil
}

// find is the one entry of that name. It is absent only if the keychain that we write to is there and unlocked: a service
// need not search a locked keychain, and its silence is no answer.
func (c *conversation) find(service, account string) (dbus.ObjectPath, error) {
	open, locked, err := c.search(attributes(service, account))
	if err != nil {
		return "", err
	}
	switch {
	case len(open)+len(locked) > 1:
		return "", fault.New(fault.Conflict, "the keychain has several entries of this name",
			"look at them with the desktop's password manager and keep the right one")
	case len(locked) == 1:
		return "", lockedKeychain()
	case len(open) == 1:
		return open[0], nil
	}
	if _, err := c.collection(); err != nil {
		return "", err
	}
	return "", fault.New(fault.NotFound, "no such entry in the keychain", "")
}

// collection is the one that new entries go to: the default one, unlocked, and not the one that is lost at logout.
func (c *conversation) collection() (dbus.ObjectPath, error) {
	var path dbus.ObjectPath
	for n := 0; ; n++ { // the alias goes with the objects
		if err := c.call(ssPath, ssService+".ReadAlias", "default").Store(&path); err != nil {
			return "", c.fault("find default keychain", err)
		}
		if path != nowhere || n >= 5 || !c.pause(n) {
			break
		}
	}
	if path == nowhere || path == ssSession {
		return "", fault.New(fault.Unavailable, "the Secret Service has no default keychain that lasts",
			"make one with the desktop's password manager, or "+noKeychainHint)
	}
	var locked bool
	if err := c.property(path, ssCollection, "Locked", &locked); err != nil {
		return "", c.fault("look at default keychain", err)
	}
	if locked {
		return "", lockedKeychain()
	}
	return path, nil
}

func (c *conversation) add(service, account string, content secret.Value) error {
	collection, err := c.collection()
	if err != nil {
		return err
	}
	session, err := c.open()
	if err != nil {
		return err
	}
	properties := map[string]dbus.Variant{
		ssItem + ".Label":      dbus.MakeVariant(label(account)),
		ssItem + ".Attributes": dbus.MakeVariant(attributes(service, account)),
	}
	var item, prompt dbus.ObjectPath
	err = content.Use(func(b []byte) error {
		return c.call(collection, ssCollection+".CreateItem", properties, seal(session, b), false).Store(&item, &prompt)
	})
	if err != nil {
		return c.fault("write entry", err)
	}
	if prompt != nowhere {
		return wantsPrompt()
	}
	if _, err := c.find(service, account); fault.Is(err, fault.Conflict) {
		if err := c.delete(item); err != nil {
			return err
		}
		return err
	} else if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	return nil
}

func (c *conversation) delete(item dbus.ObjectPath) error {
	var prompt dbus.ObjectPath
	if err := c.call(item, ssItem+".Delete").Store(&prompt); err != nil {
		return c.fault("delete entry", err)
	}
	if prompt != nowhere {
		return wantsPrompt()
	}
	return nil
}

func lockedKeychain() error {
	return fault.New(fault.Unauthenticated, "the keychain is locked", "unlock it (log in on the desktop), or "+noKeychainHint)
}

func wantsPrompt() error {
	return fault.New(fault.Unauthenticated, "the keychain wants to ask its user first",
		"switch off its confirmation for this program, or "+noKeychainHint)
}

// fault gives the error of a call its class. An error answer of the service names the class; everything else is a connection that broke
// or a context that ended, after which the effect of a write is unknown.
func (c *conversation) fault(what string, err error) error {
	f := &fault.Error{Code: fault.Unavailable, Op: "secret service: " + what, Err: err, Hint: noKeychainHint}
	if ended := c.ctx.Err(); ended != nil {
		f.Err, f.Hint = ended, "the keystore did not answer in time"
		return f
	}
	answer, ok := errors.AsType[dbus.Error](err)
	if !ok {
		return f
	}
	f.Service = answer.Name
	switch answer.Name {
	case "org.freedesktop.Secret.Error.IsLocked":
		return lockedKeychain()
	case "org.freedesktop.DBus.Error.AccessDenied":
		f.Code = fault.Forbidden
	case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner":
		f.Op = "no Secret Service on the session bus"
	}
	return f
}
